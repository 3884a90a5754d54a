import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseAddress } from '../../api/gateway/address.ts';

describe('gateway: address', () => {
  it('takes two segments as the endpoint and leaves the rest to the engine', () => {
    const cases: [string, string, string][] = [
      ['/acme/chat', 'acme/chat', '/'],
      ['/acme/chat/', 'acme/chat', '/'],
      ['/acme/chat?a=/b', 'acme/chat', '/?a=/b'],
      ['/acme/chat/v1/chat/completions', 'acme/chat', '/v1/chat/completions'],
      ['/acme/chat/v1?x=1&y=../..', 'acme/chat', '/v1?x=1&y=../..'],
      ['/acme/chat//v1', 'acme/chat', '//v1'],
      ['/acme/chat/v1/models/owner%2Fname', 'acme/chat', '/v1/models/owner%2Fname'],
      ['/acme/chat/.well-known/x..y/...', 'acme/chat', '/.well-known/x..y/...'],
    ];
    for (const [target, key, path] of cases) assert.deepEqual(parseAddress(target), { key, path }, target);
  });

  it('takes namespace and name literally, so an encoded slash is no separator', () => {
    assert.deepEqual(parseAddress('/acme%2Fchat/v1'), { key: 'acme%2Fchat/v1', path: '/' });
  });

  it('refuses other forms than a path', () => {
    for (const target of ['http://elsewhere/acme/chat', 'acme/chat', '*', 'elsewhere:443', ''])
      assert.match(String(parseAddress(target)), /must be a path/, target);
  });

  it('refuses a path without a namespace or a name', () => {
    for (const target of [
      '/',
      '/acme',
      '/acme/',
      '//chat',
      '//chat/v1',
      '/acme//v1',
      '/acme/?x',
      '/acme?x=/chat',
    ])
      assert.match(String(parseAddress(target)), /names no endpoint/, target);
  });

  it('refuses dot segments, plain or encoded, behind any kind of slash', () => {
    for (const rest of [
      '..',
      './x',
      'v1/../..',
      '%2e%2e/x',
      'x/%2E./y',
      '.%2e',
      'a%2f..%2fb',
      'a%5C..',
      'a\\..\\b',
      '..?x',
    ])
      assert.match(String(parseAddress(`/acme/chat/${rest}`)), /segments/, rest);
    for (const target of ['/../chat', '/acme/..', '/%2e%2e/chat/x'])
      assert.match(String(parseAddress(target)), /segments/, target);
  });

  it('puts back together what it took apart, for every path it accepts', () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9%2Ff.~_-]{1,8}$/);
    fc.assert(
      fc.property(fc.array(segment, { minLength: 2, maxLength: 6 }), (segments) => {
        const target = `/${segments.join('/')}`;
        const address = parseAddress(target);
        if (typeof address === 'string') return;
        assert.equal(`/${address.key}${segments.length === 2 ? '' : address.path}`, target);
        assert.equal(address.key.split('/').length, 2);
      }),
    );
  });
});
