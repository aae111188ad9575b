"""Writes a C project of SIZE modules, its header and its Makefile."""

import sys

MODULE = """#include "all.h"
static const unsigned table[] = {{{numbers}}};
{functions}
unsigned module_{n}(unsigned x) {{
  for (unsigned i = 0; i < sizeof table / sizeof *table; i++) x = step_{n}_0(x ^ table[i]) + step_{n}_{last}(x);
  return x;
}}
"""
FUNCTION = """static unsigned step_{n}_{k}(unsigned x) {{
  switch (x % {m}) {{
    case 0: return x * {a}u + {b}u;
    case 1: return (x << {s}) | (x >> (32 - {s}));
    case 2: for (unsigned i = 0; i < {m}; i++) x += x * i ^ {b}u; return x;
    default: return x ^ {a}u;
  }}
}}"""
STEPS = 60

modules = int(sys.argv[1])
for n in range(modules):
    functions = "\n".join(FUNCTION.format(n=n, k=k, m=3 + (n + k) % 17, a=2654435761 * (n + k + 1) % 2**32, b=40503 * (k + 1),
                                          s=1 + (n + k) % 30) for k in range(STEPS))
    numbers = ", ".join(str((n * 7919 + i * 104729) % 2**31) for i in range(200))
    with open(f"module_{n}.c", "w") as file:
        file.write(MODULE.format(n=n, numbers=numbers, functions=functions, last=STEPS - 1))
with open("all.h", "w") as file:
    file.writelines(f"unsigned module_{n}(unsigned x);\n" for n in range(modules))
with open("main.c", "w") as file:
    file.write('#include <stdio.h>\n#include "all.h"\nint main(void) {\n  unsigned x = 1;\n')
    file.writelines(f"  x = module_{n}(x);\n" for n in range(modules))
    file.write('  printf("%u\\n", x);\n  return 0;\n}\n')
with open("Makefile", "w") as file:
    file.write("CC = gcc\nCFLAGS = -O2 -w -Wa,--noexecstack -Wl,--build-id=sha1\nOBJECTS = main.o " + " ".join(f"module_{n}.o" for n in range(modules)))
    file.write("\n\nanswer: program\n\t./program > answer\n\nprogram: $(OBJECTS)\n\t$(CC) $(CFLAGS) -o $@ $(OBJECTS)\n\n$(OBJECTS): all.h\n")
