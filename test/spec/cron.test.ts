import assert from 'node:assert/strict';
import { cronProblem, timeZoneProblem } from '../../spec/cron.ts';

describe('spec: cron expressions', () => {
  for (const good of [
    '* * * * *',
    '0 8 * * 1-5',
    '30 8 * * mon-fri',
    '*/15 9-17 * * *',
    '5/20 0 1,15 * *',
    '0 0 29 2 *',
    '0 0 31 jan,mar *',
    '59 23 * dec sun,7',
    '  0   8 * * *  ',
  ])
    it(`takes '${good}'`, () => assert.equal(cronProblem(good), null));

  const bad: [string, RegExp][] = [
    ['', /not five fields/],
    ['@daily', /not five fields/],
    ['* * * *', /not five fields/],
    ['0 0 8 * * *', /not five fields/],
    ['60 * * * *', /^minute: 60 is not within 0 to 59/],
    ['* 24 * * *', /^hour: 24/],
    ['* * 0 * *', /^day of month: 0/],
    ['* * * 13 *', /^month: 13/],
    ['* * * * 8', /^day of week: 8/],
    ['*/0 * * * *', /^minute: .*step 0/],
    ['30-10 * * * *', /ends before it begins/],
    ['1-2-3 * * * *', /'1-2-3' is not understood/],
    ['a * * * *', /'a' is not understood/],
    ['1, * * * *', /not understood/],
    ['* * * monday *', /^month: 'monday'/],
    ['0 0 30 2 *', /never fire/],
    ['0 0 31 4,jun *', /never fire/],
  ];
  for (const [text, why] of bad) it(`refuses '${text}'`, () => assert.match(cronProblem(text) ?? '', why));
});

describe('spec: time zones', () => {
  for (const good of [
    'UTC',
    'Europe/Berlin',
    'America/Port-au-Prince',
    'Asia/Kolkata',
    'Etc/GMT+3',
    'US/Pacific',
  ])
    it(`takes '${good}'`, () => assert.equal(timeZoneProblem(good), null));
  for (const bad of ['', 'Mars/Base', '+02:00', 'Europe/', 'Europe/Berlin ', '../etc/passwd'])
    it(`refuses '${bad}'`, () => assert.match(timeZoneProblem(bad) ?? '', /unknown time zone/));
  it('says how a name is written', () => {
    assert.match(timeZoneProblem('europe/berlin') ?? '', /written 'Europe\/Berlin'/);
  });
});
