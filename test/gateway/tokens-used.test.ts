import assert from 'node:assert/strict';
import { AnswerEnds, usageIn } from '../../api/gateway/tokens-used.ts';

describe('gateway: tokens an answer cost', () => {
  const of = (...chunks: string[]) => {
    const ends = new AnswerEnds();
    for (const chunk of chunks) ends.note(Buffer.from(chunk));
    return ends.tokensUsed();
  };
  const usage = (prompt: number, completion: number) =>
    `"usage":{"prompt_tokens":${prompt},"total_tokens":9,"completion_tokens":${completion}}`;

  it('are read from every engine’s own way to say it', () => {
    const cases: [string, [number, number]][] = [
      [`{"id":"a",${usage(3, 4)},"prompt_logprobs":null}`, [3, 4]],
      ['{"usage" : {"prompt_tokens": 3, "total_tokens": 3}}', [3, 0]],
      [
        '{"usage":{"input_tokens":5,"output_tokens":6,"output_tokens_details":{"reasoning_tokens":1}}}',
        [5, 6],
      ],
      [
        'data: {"choices":[],"timings":{"cache_n":10,"prompt_n":2,"predicted_n":8}}\n\ndata: [DONE]\n\n',
        [12, 8],
      ],
      [
        '{"generated_text":"x","details":{"finish_reason":"length","generated_tokens":20,"seed":null}}',
        [0, 20],
      ],
    ];
    for (const [text, [prompt, completion]] of cases)
      assert.deepEqual(usageIn(text), { prompt, completion }, text);
  });

  it('are those that were said last', () => {
    assert.deepEqual(of(`data: {${usage(3, 1)}}\n\n`, `data: {${usage(3, 2)}}\n\n`, 'data: [DONE]\n\n'), {
      prompt: 3,
      completion: 2,
    });
    assert.deepEqual(of(`data: {${usage(3, 1)}}\n\n`, 'data: {"usage":null}\n\n'), {
      prompt: 3,
      completion: 1,
    });
  });

  it('are found when chunks cut them in two, and before a long list of data', () => {
    const text = `data: {"choices":[],${usage(7, 8)}}\n\ndata: [DONE]\n\n`;
    for (let at = 1; at < text.length; at++)
      assert.deepEqual(
        of('data: {}\n\n', text.slice(0, at), text.slice(at)),
        { prompt: 7, completion: 8 },
        `${at}`,
      );
    const floats = Array.from({ length: 10_000 }, () => '0.123').join();
    assert.deepEqual(of(`{"model":"m",${usage(9, 0)},"data":[`, floats, floats, floats, floats, ']}'), {
      prompt: 9,
      completion: 0,
    });
  });

  it('are not what somebody wrote into a text', () => {
    const written = JSON.stringify({ content: `{${usage(1000, 1000)}} "timings":{"prompt_n":5}` });
    assert.equal(usageIn(written), null);
    assert.deepEqual(usageIn(`{"choices":[${written}],${usage(1, 2)}}`), { prompt: 1, completion: 2 });
  });

  it('are none where there is nothing, or nothing that makes sense', () => {
    for (const text of [
      '',
      'data: [DONE]\n\n',
      '{"usage":{}}',
      '{"usage":{"prompt_tokens":-5}}',
      '{"usage":{"prompt_tokens":1e300}}',
      '{"usage":{"prompt_tokens":"7"}}',
      '{"usage":{"prompt_tokens":7',
      '"usage"',
    ])
      assert.deepEqual(of(text), { prompt: 0, completion: 0 }, text);
  });

  it('cost no more to look for than the end of the answer is long', () => {
    const nasty = '"usage":{'.repeat(200_000);
    const began = performance.now();
    of(nasty, nasty, nasty, nasty);
    assert.ok(performance.now() - began < 2000);
  });
});
