# Longest Collatz chain below a limit, with a small cache; progress is printed.
BEGIN {
  for (start = 1; start <= limit; start++) {
    n = start; steps = 0
    while (n != 1) {
      if (n in cache) { steps += cache[n]; break }
      n = n % 2 ? 3 * n + 1 : n / 2
      steps++
    }
    if (start < 20000) cache[start] = steps
    if (steps > longest) { longest = steps; winner = start }
    if (start % 5000 == 0) print start, winner, longest
  }
}
