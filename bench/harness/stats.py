# SPDX-License-Identifier: MIT
"""Statistics of paired runs.

Each round runs all configurations close together in time.  Dividing within the
round removes what the machine did in that round to all of them; the median over
rounds removes the rounds in which it hit only one.  The interval is a bootstrap:
it says where the median would fall if the same number of rounds were run again
under the same conditions.  It knows nothing of what stays wrong in all rounds.
"""
import math
import random

RESAMPLES = 2000
LEVEL = 0.95

# Even the whole range of five values misses the true median in 6 % of the cases
# (2 * 0.5^5): fewer rounds than this have a range and no interval.
FEWEST = 6


def median(values):
    """Middle value; mean of the two middle ones of an even number."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("median of nothing")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def quantile(values, q):
    """Linear interpolation between order statistics (R's type 7)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("quantile of nothing")
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def bootstrap_interval(values, seed=1):
    """(low, high) of the median at LEVEL, or None for fewer than FEWEST."""
    if len(values) < FEWEST:
        return None
    rng = random.Random(seed)
    medians = [median(rng.choices(values, k=len(values)))
               for _ in range(RESAMPLES)]
    tail = (1 - LEVEL) / 2
    return quantile(medians, tail), quantile(medians, 1 - tail)


def paired_ratios(values, reference):
    """value / reference round by round; rounds without a figure, or with a
    reference of 0, are left out."""
    return [v / r for v, r in zip(values, reference)
            if v is not None and r]


def spread(values):
    """Median with its interval, as a dictionary for JSON; None of nothing."""
    if not values:
        return None
    interval = bootstrap_interval(values)
    return {
        "median": median(values),
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def compare(values, reference):
    """Spread of the paired ratios; None if there is no pair."""
    return spread(paired_ratios(values, reference))


def differences(values, reference, factor):
    """Spread of the paired differences times factor."""
    return spread([(v - r) * factor for v, r in zip(values, reference)])


def geometric_mean(values):
    """Of ratios: 2 and 0.5 cancel out."""
    positive = [v for v in values if v and v > 0]
    if not positive:
        return None
    return math.exp(sum(math.log(v) for v in positive) / len(positive))
