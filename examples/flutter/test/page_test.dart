import 'package:flutter/material.dart';
import 'package:flutter_test/flutter_test.dart';
import 'package:phone_book/main.dart';

import 'fake_channel.dart';

/// Shows the app on a server that the test plays.
Future<FakeNetwork> _show(WidgetTester tester) async {
  final network = FakeNetwork();
  await tester.pumpWidget(
    PhoneBookApp(server: Uri.parse('ws://test'), connector: network.connect),
  );
  return network;
}

Future<FakeNetwork> _showOnline(WidgetTester tester, String book) async {
  final network = await _show(tester);
  network.channel
    ..open()
    ..say(book);
  await tester.pump();
  return network;
}

Future<void> _fill(WidgetTester tester, String name, String number) async {
  await tester.enterText(find.byKey(const Key('name')), name);
  await tester.enterText(find.byKey(const Key('number')), number);
}

void main() {
  testWidgets('the state of the connection is there in words', (tester) async {
    final network = await _show(tester);
    expect(find.text('Connecting'), findsOneWidget);

    network.channel.open();
    await tester.pump();
    expect(find.text('Online'), findsOneWidget);

    network.channel.drop();
    await tester.pump();
    await tester.pump();
    expect(find.text('Offline, trying again'), findsOneWidget);

    await tester.pump(const Duration(seconds: 1));
    expect(find.text('Connecting'), findsOneWidget);
  });

  testWidgets('the book is shown in the order of names', (tester) async {
    await _showOnline(tester, '["book", ["bob", "2"], ["Ada", "1"]]');

    final ada = tester.getTopLeft(find.text('Ada')).dy;
    final bob = tester.getTopLeft(find.text('bob')).dy;
    expect(ada, lessThan(bob));
    expect(find.text('1'), findsOneWidget);
  });

  testWidgets('an empty book says so', (tester) async {
    await _showOnline(tester, '["book"]');

    expect(find.text('Nobody is in the book yet.'), findsOneWidget);
  });

  testWidgets('changes by others show', (tester) async {
    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');

    network.channel
      ..say('["added", "Bob", "2"]')
      ..say('["added", "Ada", "3"]');
    await tester.pump();
    expect(find.text('Bob'), findsOneWidget);
    expect(find.text('3'), findsOneWidget);
    expect(find.text('1'), findsNothing);

    network.channel.say('["removed", "Bob"]');
    await tester.pump();
    expect(find.text('Bob'), findsNothing);
  });

  testWidgets('the button sends the form, and empties it', (tester) async {
    final network = await _showOnline(tester, '["book"]');

    await _fill(tester, ' Ada ', '1');
    await tester.tap(find.byKey(const Key('add')));
    await tester.pump();

    expect(network.channel.sent, ['["add","Ada","1"]']);
    expect(find.text('1'), findsNothing);
  });

  testWidgets('the Enter key sends the form too', (tester) async {
    final network = await _showOnline(tester, '["book"]');

    await _fill(tester, 'Ada', '1');
    await tester.testTextInput.receiveAction(TextInputAction.done);
    await tester.pump();

    expect(network.channel.sent, ['["add","Ada","1"]']);
  });

  testWidgets('half a form is not sent', (tester) async {
    final network = await _showOnline(tester, '["book"]');

    await _fill(tester, 'Ada', ' ');
    await tester.tap(find.byKey(const Key('add')));
    await tester.pump();

    expect(network.channel.sent, isEmpty);
    expect(find.text('Ada'), findsOneWidget);
  });

  testWidgets('the bin sends the name of its line', (tester) async {
    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');

    await tester.tap(find.byTooltip('Remove Ada'));
    await tester.pump();

    expect(network.channel.sent, ['["remove","Ada"]']);
  });

  testWidgets('a refusal shows until the next request', (tester) async {
    final network = await _showOnline(tester, '["book"]');

    network.channel.say('["refused", "The book is full."]');
    await tester.pump();
    expect(find.text('The book is full.'), findsOneWidget);

    await _fill(tester, 'Ada', '1');
    await tester.tap(find.byKey(const Key('add')));
    await tester.pump();
    expect(find.text('The book is full.'), findsNothing);
  });

  testWidgets('messages that mean nothing change nothing', (tester) async {
    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');

    network.channel
      ..say('["1","2","3"]')
      ..say('Echo Client')
      ..say('{');
    await tester.pump();

    expect(find.text('Ada'), findsOneWidget);
    expect(tester.takeException(), isNull);
  });

  testWidgets('offline, the book stays and the form cannot be sent', (
    tester,
  ) async {
    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');
    network.channel.drop();
    await tester.pump();
    await tester.pump();

    await _fill(tester, 'Bob', '2');
    await tester.tap(find.byKey(const Key('add')));
    await tester.testTextInput.receiveAction(TextInputAction.done);
    await tester.pump();

    expect(find.text('Ada'), findsOneWidget);
    expect(network.channel.sent, isEmpty);
    expect(find.text('Bob'), findsOneWidget);
    expect(find.text('No connection; nothing was sent.'), findsOneWidget);
  });

  testWidgets('back online, the book is what the server says', (tester) async {
    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');
    network.channel.drop();
    await tester.pump(const Duration(seconds: 1));
    await tester.pump(const Duration(seconds: 1));

    expect(network.channels, hasLength(2));
    network.channel
      ..open()
      ..say('["book", ["Bob", "2"]]');
    await tester.pump();

    expect(find.text('Ada'), findsNothing);
    expect(find.text('Bob'), findsOneWidget);
  });

  testWidgets('it fits a small phone, and letters twice as large', (
    tester,
  ) async {
    tester.view.physicalSize = const Size(320, 480);
    tester.view.devicePixelRatio = 1;
    tester.platformDispatcher.textScaleFactorTestValue = 2;
    addTearDown(tester.view.reset);
    addTearDown(tester.platformDispatcher.clearAllTestValues);

    final network = await _showOnline(tester, '["book", ["Ada", "1"]]');
    network.channel.drop();
    await tester.pump();
    await tester.pump();

    expect(find.text('Offline, trying again'), findsOneWidget);
    expect(tester.takeException(), isNull);
  });

  testWidgets('it can be used with a screen reader and large fingers', (
    tester,
  ) async {
    final semantics = tester.ensureSemantics();
    await _showOnline(tester, '["book", ["Ada", "1"]]');

    await expectLater(tester, meetsGuideline(androidTapTargetGuideline));
    await expectLater(tester, meetsGuideline(iOSTapTargetGuideline));
    await expectLater(tester, meetsGuideline(labeledTapTargetGuideline));
    semantics.dispose();
  });

  test('an emulator finds the machine it runs on at 10.0.2.2', () {
    expect(defaultServer(android: true), Uri.parse('ws://10.0.2.2:8467'));
    expect(defaultServer(android: false), Uri.parse('ws://127.0.0.1:8467'));
  });
}
