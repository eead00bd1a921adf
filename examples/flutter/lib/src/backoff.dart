import 'dart:math';

/// The waiting times between attempts to connect.
///
/// They double up to [limit], so that a server that is down is not flooded, and
/// half of each is random, so that a thousand phones do not come back in the
/// same instant after it was restarted.
class Backoff {
  /// Makes waiting times that start at [first] and end at [limit].
  ///
  /// [random] gives numbers from 0 to 1; tests pass one that is not random.
  Backoff({
    this.first = const Duration(milliseconds: 500),
    this.limit = const Duration(seconds: 30),
    double Function()? random,
  }) : _random = random ?? Random().nextDouble;

  /// The first waiting time at its longest.
  final Duration first;

  /// The longest waiting time of all.
  final Duration limit;

  final double Function() _random;
  int _failures = 0;

  /// The time to wait before the next attempt.
  Duration next() {
    // The exponent is bounded too: a shift by 64 would start over at zero.
    final doubled = first * (1 << min(_failures, 20));
    final longest = doubled < limit ? doubled : limit;
    _failures++;
    return longest * (0.5 + 0.5 * _random());
  }

  /// Starts over at [first]; to be called when the server proved to be there.
  void reset() => _failures = 0;
}
