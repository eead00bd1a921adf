import 'dart:io';

import 'package:flutter/material.dart';
import 'package:flutter_test/flutter_test.dart';
import 'package:phone_book/main.dart';

/// Address of a phone book that is there to be written into.
final String? _server = Platform.environment['PHONE_BOOK_SERVER'];

/// Whether somebody restarts the server when told to on standard output.
final bool _conducted = Platform.environment.containsKey('PHONE_BOOK_RESTART');

const Duration _patience = Duration(seconds: 20);

/// Shows frames until [finder] finds something, or fails.
Future<void> _see(WidgetTester tester, Finder finder) async {
  final watch = Stopwatch()..start();
  while (finder.evaluate().isEmpty) {
    if (watch.elapsed > _patience) {
      fail('never seen: $finder');
    }
    await Future<void>.delayed(const Duration(milliseconds: 10));
    await tester.pump();
  }
}

/// Shows frames until [finder] finds nothing, or fails.
Future<void> _miss(WidgetTester tester, Finder finder) async {
  final watch = Stopwatch()..start();
  while (finder.evaluate().isNotEmpty) {
    if (watch.elapsed > _patience) {
      fail('always there: $finder');
    }
    await Future<void>.delayed(const Duration(milliseconds: 10));
    await tester.pump();
  }
}

Future<void> _add(WidgetTester tester, String name, String number) async {
  await tester.enterText(find.byKey(const Key('name')), name);
  await tester.enterText(find.byKey(const Key('number')), number);
  await tester.tap(find.byKey(const Key('add')));
}

/// Runs [body] with the app on the live server, in real time.
Future<void> _live(WidgetTester tester, Future<void> Function() body) async {
  // The test binding answers each HTTP request with 400 by itself.
  HttpOverrides.global = null;
  await tester.runAsync(() async {
    await tester.pumpWidget(PhoneBookApp(server: Uri.parse(_server!)));
    await _see(tester, find.text('Online'));
    await body();
    await tester.pumpWidget(const SizedBox());
  });
}

void main() {
  final notLive = _server == null;

  testWidgets('a line is written, shown, and taken out', skip: notLive, (
    tester,
  ) async {
    await _live(tester, () async {
      await _add(tester, 'Grace Hopper', '+1 202 555 0143');
      await _see(tester, find.text('+1 202 555 0143'));

      await tester.tap(find.byTooltip('Remove Grace Hopper'));

      await _miss(tester, find.text('Grace Hopper'));
    });
  });

  testWidgets('a name in any script comes back unharmed', skip: notLive, (
    tester,
  ) async {
    await _live(tester, () async {
      const name = 'Zoë Ωμέγα 中村 👩‍🚀';
      await _add(tester, name, '٠١٢٣');
      await _see(tester, find.text(name));

      await tester.tap(find.byTooltip('Remove $name'));

      await _miss(tester, find.text(name));
    });
  });

  testWidgets('what the server refuses is told', skip: notLive, (tester) async {
    await _live(tester, () async {
      await _add(tester, 'x' * 51, '1');

      await _see(tester, find.textContaining('1 to 50 characters'));
    });
  });

  testWidgets(
    'the page comes back after a restart of the server',
    skip: notLive || !_conducted,
    (tester) async {
      await _live(tester, () async {
        await _see(tester, find.text('Before'));

        stdout.writeln('PHONE_BOOK_RESTART');

        await _see(tester, find.text('After'));
        await _miss(tester, find.text('Before'));
        await _see(tester, find.text('Online'));
      });
    },
  );
}
