import assert from 'node:assert/strict';
import fc from 'fast-check';
import { requestHead } from '../../../api/gateway/upstream/request-head.ts';

const GET = { method: 'GET', path: '/v1/models', headers: [] };

describe('gateway: head of a request to an engine', () => {
  it('has the headers in order and case, and says where the body ends', () => {
    const request = { method: 'POST', path: '/x?y', headers: ['X-A', '1', 'x-a', 'é'] };
    assert.equal(
      requestHead(request, 'h:1', 5),
      'POST /x?y HTTP/1.1\r\nhost: h:1\r\nconnection: keep-alive\r\nX-A: 1\r\nx-a: é\r\ncontent-length: 5\r\n\r\n',
    );
    assert.match(requestHead(request, 'h', 'chunked') ?? '', /\r\ntransfer-encoding: chunked\r\n\r\n$/);
    assert.match(requestHead(request, 'h', null) ?? '', /\r\ncontent-length: 0\r\n\r\n$/);
    assert.doesNotMatch(requestHead(GET, 'h', null) ?? '', /content-length|transfer-encoding/);
  });

  it('is none when something would end a line, a name or the path', () => {
    for (const path of ['', '/a b', '/a\r\nx: y', '/a\n', '/\0', '/\u0100'])
      assert.equal(requestHead({ ...GET, path }, 'h', null), null, JSON.stringify(path));
    for (const method of ['', 'GET /', 'G\r\nET'])
      assert.equal(requestHead({ ...GET, method }, 'h', null), null, method);
    for (const header of [
      ['x', 'a\r\ny: b'],
      ['x', 'a\nb'],
      ['x', 'a\rb'],
      ['x', '\0'],
      ['x', '\u010a'],
      ['x:y', ''],
      ['x ', ''],
      ['', ''],
    ])
      assert.equal(requestHead({ ...GET, headers: header }, 'h', null), null, JSON.stringify(header));
  });

  it('never has another line than those it was given', () => {
    const text = fc.string({ unit: 'binary', maxLength: 8 });
    fc.assert(
      fc.property(text, text, fc.array(fc.tuple(text, text), { maxLength: 4 }), (method, path, headers) => {
        const head = requestHead({ method, path, headers: headers.flat() }, 'h', 3);
        assert.ok(head === null || head.split(/[\r\n]+/).length === headers.length + 5);
      }),
      { numRuns: 2000 },
    );
  });
});
