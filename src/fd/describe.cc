// The table of kinds as doc/what-survives.md shows it.
#include <fmt/format.h>

#include "fd/table.h"

namespace stint::fd {

std::string describe_kinds_markdown() {
  std::string text = "| kind | kept | refused when |\n|---|---|---|\n";
  for (const Kind* kind : kinds()) text += fmt::format("| {} | {} | {} |\n", kind->name, kind->kept, kind->refused);
  return text;
}

}  // namespace stint::fd
