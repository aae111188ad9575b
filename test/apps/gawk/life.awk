# Conway's game on a torus kept in an associative array; every generation's census is printed.
BEGIN {
  rows = 96; cols = 96; state = 7
  for (r = 0; r < rows; r++)
    for (c = 0; c < cols; c++) {
      state = (state * 16807) % 2147483647
      if (state % 3 == 0) alive[r, c] = 1
    }
  for (g = 1; g <= generations; g++) {
    delete near
    for (cell in alive) {
      split(cell, at, SUBSEP)
      for (dr = -1; dr <= 1; dr++)
        for (dc = -1; dc <= 1; dc++)
          if (dr || dc) near[(at[1] + dr + rows) % rows, (at[2] + dc + cols) % cols]++
    }
    delete next_alive
    for (cell in near)
      if (near[cell] == 3 || (near[cell] == 2 && (cell in alive))) next_alive[cell] = 1
    delete alive
    census = 0; sum = 0
    for (cell in next_alive) { alive[cell] = 1; census++; split(cell, at, SUBSEP); sum += at[1] * cols + at[2] }
    print g, census, sum
    if (g % 10 == 0) print g, census, sum > "census.txt"
  }
}
