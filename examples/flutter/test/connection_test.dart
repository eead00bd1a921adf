import 'dart:async';
import 'dart:io';

import 'package:fake_async/fake_async.dart';
import 'package:flutter_test/flutter_test.dart';
import 'package:phone_book/src/backoff.dart';
import 'package:phone_book/src/connection.dart';

import 'fake_channel.dart';

final Uri _url = Uri.parse('ws://phone-book.test');

const Duration _second = Duration(seconds: 1);

/// A connection whose waiting times are 1, 2, 4 and 8 seconds.
Connection _connection(FakeNetwork network) => Connection(
  _url,
  connector: network.connect,
  backoff: Backoff(
    first: _second,
    limit: const Duration(seconds: 8),
    random: () => 1,
  ),
);

void main() {
  group('without a network', () {
    test('a connection does nothing before it is started', () {
      final network = FakeNetwork();
      final connection = _connection(network);

      expect(network.channels, isEmpty);
      expect(connection.state, LinkState.closed);
      expect(connection.send('x'), isFalse);
    });

    test('it is online when the server accepted, and not earlier', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();

        expect(connection.state, LinkState.connecting);
        expect(connection.send('early'), isFalse);
        network.channel.open();
        async.flushMicrotasks();

        expect(connection.state, LinkState.online);
        expect(connection.send('now'), isTrue);
        expect(network.channel.sent, ['now']);
      });
    });

    test('start twice makes one connection', () {
      final network = FakeNetwork();
      _connection(network)
        ..start()
        ..start();

      expect(network.channels, hasLength(1));
    });

    test('texts are handed out in order, binary messages are not', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();
        final texts = <String>[];
        unawaited(connection.texts.forEach(texts.add));

        network.channel
          ..open()
          ..say('a')
          ..say([1, 2, 3])
          ..say('b');

        expect(texts, ['a', 'b']);
      });
    });

    test('a server that is down is called less and less often', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();

        for (final seconds in [1, 2, 4, 8, 8]) {
          final attempts = network.channels.length;
          network.channel.refuse();
          async.flushMicrotasks();
          expect(connection.state, LinkState.waiting);
          async.elapse(Duration(seconds: seconds) - const Duration(seconds: 1));
          expect(network.channels, hasLength(attempts));
          async.elapse(_second);
          expect(network.channels, hasLength(attempts + 1));
          expect(connection.state, LinkState.connecting);
        }
      });
    });

    test('a message proves the server to be there, accepting does not', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        _connection(network).start();

        // Accepted and dropped: 1, then 2 seconds.
        for (final seconds in [1, 2]) {
          final attempts = network.channels.length;
          network.channel.open();
          async.flushMicrotasks();
          network.channel.drop();
          async
            ..flushMicrotasks()
            ..elapse(Duration(seconds: seconds) - const Duration(seconds: 1));
          expect(network.channels, hasLength(attempts));
          async.elapse(_second);
          expect(network.channels, hasLength(attempts + 1));
        }
        // Served and dropped: 1 second.
        network.channel
          ..open()
          ..say('served');
        async.flushMicrotasks();
        network.channel.drop();
        async
          ..flushMicrotasks()
          ..elapse(_second);

        expect(network.channels, hasLength(4));
      });
    });

    test('states are told in the order in which they come', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network);
        final states = <LinkState>[];
        unawaited(connection.states.forEach(states.add));

        connection.start();
        network.channel.open();
        async.flushMicrotasks();
        network.channel.drop();
        async
          ..flushMicrotasks()
          ..elapse(_second);
        network.channel.open();
        async.flushMicrotasks();
        unawaited(connection.close());
        async.flushMicrotasks();

        expect(states, [
          LinkState.connecting,
          LinkState.online,
          LinkState.waiting,
          LinkState.connecting,
          LinkState.online,
          LinkState.closed,
        ]);
      });
    });

    test('retryNow does not wait, and does not disturb', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();
        network.channel.refuse();
        async.flushMicrotasks();

        connection
          ..retryNow()
          ..retryNow();

        expect(network.channels, hasLength(2));
        async.elapse(const Duration(minutes: 1));
        expect(network.channels, hasLength(2));
      });
    });

    test('close says 1000, and nothing connects again', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();
        network.channel.open();
        async.flushMicrotasks();

        unawaited(connection.close());
        async.elapse(const Duration(minutes: 1));

        expect(network.channel.sentCloseCode, 1000);
        expect(connection.state, LinkState.closed);
        expect(network.channels, hasLength(1));
        connection.start();
        expect(network.channels, hasLength(1));
      });
    });

    test('close while waiting takes back the next attempt', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();
        network.channel.refuse();
        async.flushMicrotasks();

        unawaited(connection.close());
        async.elapse(const Duration(minutes: 1));

        expect(network.channels, hasLength(1));
        expect(async.pendingTimers, isEmpty);
      });
    });

    test('a channel that opens after close is closed, and not heard', () {
      fakeAsync((async) {
        final network = FakeNetwork();
        final connection = _connection(network)..start();
        final states = <LinkState>[];
        unawaited(connection.states.forEach(states.add));

        unawaited(connection.close());
        network.channel.open();
        async.flushMicrotasks();

        expect(network.channel.sentCloseCode, 1000);
        expect(states, [LinkState.closed]);
      });
    });
  });

  group('with a server of dart:io', () {
    late HttpServer server;
    late StreamIterator<WebSocket> sockets;

    Future<void> listen(int port) async {
      server = await HttpServer.bind(InternetAddress.loopbackIPv4, port);
      sockets = StreamIterator(server.transform(WebSocketTransformer()));
    }

    Future<WebSocket> accept() async {
      expect(await sockets.moveNext(), isTrue);
      return sockets.current;
    }

    Connection connect() => Connection(
      Uri.parse('ws://127.0.0.1:${server.port}'),
      backoff: Backoff(first: const Duration(milliseconds: 20)),
    );

    setUp(() async {
      // The binding of widget tests answers each request with 400 by itself.
      HttpOverrides.global = null;
      await listen(0);
    });
    tearDown(() => server.close(force: true));

    test('texts go both ways, and the end is a closing handshake', () async {
      final connection = connect()..start();
      final socket = await accept();
      final asked = <Object?>[];
      final ended = Completer<void>();
      socket.listen(asked.add, onDone: ended.complete);
      final heard = connection.texts.first;

      socket.add('from the server');
      expect(await heard, 'from the server');
      expect(connection.send('from the client'), isTrue);
      await connection.close();
      await ended.future;

      expect(asked, ['from the client']);
      expect(socket.closeCode, 1000);
    });

    test('it comes back after the server was away', () async {
      final connection = connect()..start();
      final before = await accept();
      final port = server.port;

      final lost = connection.states.firstWhere((s) => s == LinkState.waiting);
      await before.close(WebSocketStatus.goingAway);
      await server.close(force: true);
      await lost;
      await listen(port);
      final after = await accept();
      final heard = connection.texts.first;
      after.add('after');

      expect(await heard, 'after');
      expect(connection.state, LinkState.online);
      unawaited(after.drain<void>());
      await connection.close();
    });
  });
}
