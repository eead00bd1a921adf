import 'package:flutter_test/flutter_test.dart';
import 'package:phone_book/src/backoff.dart';

List<int> _milliseconds(Backoff backoff, int count) => [
  for (var i = 0; i < count; i++) backoff.next().inMilliseconds,
];

void main() {
  const first = Duration(seconds: 1);
  const limit = Duration(seconds: 10);

  test('times double up to the limit and stay there', () {
    final backoff = Backoff(first: first, limit: limit, random: () => 1);

    expect(_milliseconds(backoff, 6), [1000, 2000, 4000, 8000, 10000, 10000]);
  });

  test('half of each time is random', () {
    final shortest = Backoff(first: first, limit: limit, random: () => 0);

    expect(_milliseconds(shortest, 5), [500, 1000, 2000, 4000, 5000]);
  });

  test('a server that was there starts the times over', () {
    final backoff = Backoff(first: first, limit: limit, random: () => 1)
      ..next()
      ..next()
      ..reset();

    expect(_milliseconds(backoff, 2), [1000, 2000]);
  });

  test('a server that is gone for a year is still called', () {
    final backoff = Backoff(first: first, limit: limit, random: () => 1);

    expect(_milliseconds(backoff, 1000000).last, limit.inMilliseconds);
  });

  test('two clients do not wait equally long', () {
    final times = {for (var i = 0; i < 20; i++) Backoff().next()};

    expect(times.length, greaterThan(1));
  });
}
