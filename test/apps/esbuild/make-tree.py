"""Writes a tree of JavaScript modules that import one another."""
import os
import sys

modules = 500
for n in range(modules):
    folder = f"src/m{n % 20}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/module{n}.js", "w") as out:
        for k in range(1, 4):
            to = n + k * 7
            if to < modules:
                out.write(f'import {{ value as v{k}, table as t{k} }} from "../m{to % 20}/module{to}.js";\n')
            else:
                out.write(f"const v{k} = {k}, t{k} = {{}};\n")
        out.write(f"export const table = {{ {', '.join(f'key{i}: [{n * i}, {i}.5, `text ${{v1}} {i}`]' for i in range(60))}, ...t1 }};\n")
        for i in range(60):
            out.write(f"""
/** Function {i} of module {n}. */
export function compute{i}(first, second = {{ ...t2 }}) {{
  const result = [];
  for (let index = 0; index < {i} + v2; index++) {{
    if (index % 3 === {n} % 3) result.push(first?.[index] ?? second["key" + index]);
    else result.push(async () => {{ await import("../m{n % 20}/module{n}.js"); return class {{ static #hidden = {i}; get it() {{ return index ** 2 }} }} }});
  }}
  return {{ result, total: result.length + v3, label: `module {n} function {i}` }};
}}
""")
        out.write("export const value = compute0().total + compute1().total;\n")
for entry in range(int(sys.argv[1])):
    with open(f"entry{entry}.js", "w") as out:
        for n in range(entry % 3, modules, 3):
            out.write(f'export * as m{n} from "./src/m{n % 20}/module{n}.js";\n')
