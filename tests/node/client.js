// Talks to the echo server of the tests: client.js URL SCENARIO [OPTIONS as JSON]
// Prints "ok" if all is well; a test must not take silence for success.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const WebSocket = require('ws');

/** A WebSocket of the package ws, open, and what arrives in it one by one. */
class Peer {
  constructor(url, protocols, options) {
    this.socket = new WebSocket(url, protocols, options);
    this.received = [];
    this.waiting = [];
    this.socket.on('message', (data, isBinary) => {
      const message = isBinary ? data : data.toString();
      const waiting = this.waiting.shift();
      if (waiting) waiting.resolve(message);
      else this.received.push(message);
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        const error = new Error(`closed: ${code} ${reason}`);
        for (const waiting of this.waiting) waiting.reject(error);
        resolve([code, reason.toString()]);
      });
    });
  }

  static async open(url, { protocols = [], ...options } = {}) {
    const peer = new Peer(url, protocols, options);
    await once(peer.socket, 'open');
    peer.socket.on('error', () => {}); // The close event follows.
    return peer;
  }

  next() {
    if (this.received.length) return Promise.resolve(this.received.shift());
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async echoes(message) {
    this.socket.send(message);
    assert.ok(same(await this.next(), message), 'another message came back');
  }

  async close(code = 1000, reason = '') {
    this.socket.close(code, reason);
    assert.equal((await this.closed)[0], code);
  }
}

function same(found, expected) {
  if (typeof expected === 'string') return found === expected;
  return Buffer.isBuffer(found) && Buffer.compare(found, expected) === 0;
}

function pattern(length) {
  const data = Buffer.alloc(length);
  for (let i = 0; i < length; i++) data[i] = (i * 7919) >> 5;
  return data;
}

async function echoVarious(peer) {
  for (let i = 0; i < 20; i++) {
    await peer.echoes(`all work and no play makes ${i} a dull boy. `.repeat(i * i));
    await peer.echoes(pattern(i * 500));
  }
}

const scenarios = {
  async unicode(url) {
    const peer = await Peer.open(url);
    const step = 0x8000;
    for (let first = 0; first < 0x110000; first += step) {
      let text = '';
      for (let point = first; point < first + step; point++) {
        if (point < 0xd800 || point > 0xdfff) text += String.fromCodePoint(point);
      }
      await peer.echoes(text);
    }
    await peer.close();
  },

  async binary(url) {
    const peer = await Peer.open(url);
    for (const length of [0, 1, 125, 126, 127, 65535, 65536, 65537]) {
      await peer.echoes(pattern(length));
      await peer.echoes('x'.repeat(length));
    }
    await peer.echoes(Buffer.from([0xff, 0xfe, 0xc0]));
    await peer.close();
  },

  async mebibyte(url, options) {
    const peer = await Peer.open(url, options);
    await peer.echoes('0123456789abcdef'.repeat(1 << 16));
    await peer.echoes(pattern(1 << 20));
    await peer.close();
  },

  async tooBig(url, options) {
    const peer = await Peer.open(url, options);
    peer.socket.send('x'.repeat((1 << 20) + 1));
    assert.equal((await peer.closed)[0], 1009);
  },

  async fragments(url, options) {
    const peer = await Peer.open(url, options);
    const { socket } = peer;
    const pong = once(socket, 'pong');
    socket.send('Zo', { fin: false });
    socket.send(Buffer.from([0xc3]), { fin: false, binary: false });
    socket.ping('between');
    socket.send(Buffer.alloc(0), { fin: false });
    socket.send(Buffer.from([0xab]), { fin: true });
    assert.equal(await peer.next(), 'Zoë');
    assert.equal((await pong)[0].toString(), 'between');
    socket.send(Buffer.from([1, 2]), { fin: false });
    socket.send(Buffer.from([3]), { fin: true });
    assert.deepEqual([...(await peer.next())], [1, 2, 3]);
    await peer.echoes('after');
    await peer.close();
  },

  async manyFragments(url) {
    const peer = await Peer.open(url);
    for (let i = 0; i < 999; i++) peer.socket.send(`${i} `, { fin: false });
    peer.socket.send('end', { fin: true });
    const expected = [...Array(999).keys(), 'end'].join(' ');
    assert.equal(await peer.next(), expected);
    await peer.close();
  },

  async pings(url) {
    const peer = await Peer.open(url);
    for (const payload of ['', 'payload', 'x'.repeat(125)]) {
      const pong = once(peer.socket, 'pong');
      peer.socket.ping(payload);
      assert.equal((await pong)[0].toString(), payload);
    }
    peer.socket.pong('nobody asked');
    await peer.echoes('after');
    const ping = once(peer.socket, 'ping');
    peer.socket.send('ping');
    await ping;
    await peer.echoes('after');
    await peer.close();
  },

  async closeByClient(url, { code, reason }) {
    const peer = await Peer.open(url);
    await peer.close(code, reason);
  },

  async closeWithoutCode(url) {
    const peer = await Peer.open(url);
    peer.socket.close();
    assert.equal((await peer.closed)[0], 1005);
  },

  async closeByServer(url, { code, reason }) {
    const peer = await Peer.open(url);
    peer.socket.send(`close ${code} ${reason}`);
    assert.deepEqual(await peer.closed, [code, reason]);
  },

  async terminate(url) {
    const peer = await Peer.open(url);
    await peer.echoes('here');
    peer.socket.terminate();
    await peer.closed;
  },

  // The names of all header fields, changed by the method of strings that is named.
  async headerCase(url, { change }) {
    let names;
    const finishRequest = (request) => {
      for (const name of request.getRawHeaderNames()) {
        const value = request.getHeader(name);
        request.removeHeader(name);
        request.setHeader(name[change](), value);
      }
      names = request.getRawHeaderNames();
      request.end();
    };
    const peer = await Peer.open(url, { finishRequest });
    assert.ok(names.includes('Sec-WebSocket-Key'[change]()));
    await peer.echoes('understood');
    await peer.close();
  },

  async subprotocol(url, { protocols, expected }) {
    const peer = await Peer.open(url, { protocols });
    assert.equal(peer.socket.protocol, expected);
    await peer.close();
  },

  async noCommonSubprotocol(url) {
    // This client, unlike browsers, insists on one of those that it offered.
    const peer = new Peer(url, ['nonsense'], {});
    const [error] = await once(peer.socket, 'error');
    assert.match(error.message, /no subprotocol/);
  },

  async deflate(url, { perMessageDeflate, expected }) {
    const options = { perMessageDeflate };
    if (typeof perMessageDeflate === 'object') perMessageDeflate.threshold = 0;
    const peer = await Peer.open(url, options);
    const agreed = peer.socket._extensions['permessage-deflate'];
    assert.deepEqual(agreed ? { ...agreed.params } : null, expected);
    await echoVarious(peer);
    await peer.close();
  },

  async onePacket(url) {
    const peer = await Peer.open(url);
    peer.socket._socket.cork();
    for (let i = 0; i < 500; i++) peer.socket.send(`message ${i}`);
    peer.socket.ping('last');
    peer.socket._socket.uncork();
    await once(peer.socket, 'pong');
    for (let i = 0; i < 500; i++) assert.equal(await peer.next(), `message ${i}`);
    await peer.close();
  },

  async packetWithClose(url) {
    const peer = await Peer.open(url);
    peer.socket._socket.cork();
    peer.socket.send('first');
    peer.socket.close(4001, 'in the same packet');
    peer.socket._socket.uncork();
    assert.equal(await peer.next(), 'first');
    assert.equal((await peer.closed)[0], 4001);
  },

  async twenty(url) {
    const peers = await Promise.all([...Array(20)].map(() => Peer.open(url)));
    await Promise.all(peers.map((peer) => echoVarious(peer)));
    await Promise.all(peers.map((peer) => peer.close()));
  },

  async tls(url, { ca }) {
    const peer = await Peer.open(url, { ca: require('node:fs').readFileSync(ca) });
    await peer.echoes('secret');
    await peer.echoes(pattern(1 << 20));
    await peer.close();
  },

  async unix(url) {
    const peer = await Peer.open(url);
    await peer.echoes('local');
    await peer.close();
  },

  async refused(url, { status, headers, protocolVersion }) {
    const peer = new Peer(url, [], { headers, protocolVersion });
    const [, response] = await once(peer.socket, 'unexpected-response');
    assert.equal(response.statusCode, status);
    assert.ok(response.headers.connection.split(', ').includes('close'));
    let body = '';
    for await (const data of response) body += data;
    assert.ok(body.length > 10, 'a refusal says why');
  },

  async builtIn(url) {
    if (typeof globalThis.WebSocket !== 'function') {
      console.log('absent');
      process.exit();
    }
    const socket = new globalThis.WebSocket(url, ['chat']);
    socket.binaryType = 'arraybuffer';
    const event = (name) =>
      new Promise((resolve) => socket.addEventListener(name, resolve, { once: true }));
    await event('open');
    assert.equal(socket.protocol, 'chat');
    for (const text of ['', 'Zoë 中村 👩‍🚀', 'x'.repeat(1 << 20)]) {
      socket.send(text);
      assert.ok((await event('message')).data === text);
    }
    socket.send(pattern(70000));
    const { data } = await event('message');
    assert.ok(same(Buffer.from(data), pattern(70000)));
    const closed = event('close');
    socket.send('close 4000 ade, Welt');
    const { code, reason, wasClean } = await closed;
    assert.deepEqual([code, reason, wasClean], [4000, 'ade, Welt', true]);
  },
};

const [url, scenario, options = '{}'] = process.argv.slice(2);
scenarios[scenario](url, JSON.parse(options)).then(
  () => {
    console.log('ok');
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
