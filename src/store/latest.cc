#include "store/latest.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <tuple>

namespace stint::store {
namespace {

using image::Storage;
using image::StoredBlock;
using image::StoredRun;

// A run, and where it comes from.
struct Piece {
  StoredRun run;
  uint64_t order = 0;
  size_t block = 0;
};

void append(std::vector<Piece>& pieces, Piece piece, uint64_t start, uint64_t end) {
  piece.run.at += start - piece.run.offset;
  piece.run.offset = start;
  piece.run.size = end - start;
  if (!pieces.empty()) {
    Piece& last = pieces.back();
    bool joined = last.block == piece.block && last.run.end() == start && last.run.at + last.run.size == piece.run.at;
    if (joined) {
      last.run.size += piece.run.size;
      return;
    }
  }
  pieces.push_back(piece);
}

// One pass over the space; at each place the newest of the pieces that reach it is the one that shows.
std::vector<Piece> visible(std::vector<Piece> pieces) {
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.run.offset; });
  auto older = [&](size_t a, size_t b) { return pieces[a].order < pieces[b].order; };
  std::priority_queue<size_t, std::vector<size_t>, decltype(older)> here(older);
  std::vector<Piece> shown;
  uint64_t at = 0;
  for (size_t next = 0; next < pieces.size() || !here.empty();) {
    if (here.empty()) at = std::max(at, pieces[next].run.offset);
    while (next < pieces.size() && pieces[next].run.offset <= at) here.push(next++);
    while (!here.empty() && pieces[here.top()].run.end() <= at) here.pop();
    if (here.empty()) continue;
    const Piece& top = pieces[here.top()];
    uint64_t end = next < pieces.size() ? std::min(top.run.end(), pieces[next].run.offset) : top.run.end();
    append(shown, top, at, end);
    at = end;
  }
  return shown;
}

Result<std::vector<Piece>> cut(const std::vector<Piece>& pieces, const std::vector<Range>& to, uint64_t space) {
  std::vector<Piece> kept;
  size_t next = 0;
  for (const Range& range : to) {
    uint64_t reached = range.start;
    while (next < pieces.size() && pieces[next].run.end() <= range.start) ++next;
    for (size_t i = next; i < pieces.size() && pieces[i].run.offset < range.end; ++i) {
      if (pieces[i].run.offset > reached) break;
      uint64_t end = std::min(range.end, pieces[i].run.end());
      append(kept, pieces[i], reached, end);
      reached = end;
    }
    if (reached < range.end)
      return failed(fmt::format("the page at {:#x} of space {:#x} was never copied", reached, space));
  }
  return kept;
}

// Blocks that are the same bytes on disk have the same place; a block of zeroes has none but its own.
using Place = std::tuple<uint64_t, uint64_t, size_t>;
Place place_of(const StoredBlock& block, size_t number) {
  return block.storage == Storage::kZero ? Place(0, 0, number + 1) : Place(block.checkpoint, block.stored_at, 0);
}

// Gives the pieces of one space back to their blocks. One that is named several times (as it was put, and by who found
// a page of it again) becomes one.
void collect(const std::vector<Piece>& pieces, const std::vector<PutBlock>& blocks, std::vector<StoredBlock>& out) {
  std::map<Place, size_t> places;
  for (const Piece& piece : pieces) {
    const StoredBlock& from = blocks[piece.block].block;
    auto [place, added] = places.try_emplace(place_of(from, piece.block), out.size());
    if (added) out.emplace_back(from).runs.clear();
    std::vector<StoredRun>& runs = out[place->second].runs;
    StoredRun run = piece.run;
    // Of zeroes it does not matter which.
    if (from.storage == Storage::kZero) run.at = runs.empty() ? 0 : runs.back().at + runs.back().size;
    if (!runs.empty() && runs.back().end() == run.offset && runs.back().at + runs.back().size == run.at)
      runs.back().size += run.size;
    else
      runs.push_back(run);
  }
}

}  // namespace

Result<std::vector<StoredBlock>> latest(std::vector<PutBlock> blocks, const Settled& settled) {
  std::map<uint64_t, std::vector<Piece>> spaces;
  for (size_t i = 0; i < blocks.size(); ++i)
    for (const StoredRun& run : blocks[i].block.runs)
      spaces[blocks[i].block.space].push_back({run, blocks[i].order, i});
  for (const auto& [space, ranges] : settled) spaces.try_emplace(space);
  std::vector<StoredBlock> out;
  for (auto& [space, pieces] : spaces) {
    pieces = visible(std::move(pieces));
    if (auto found = settled.find(space); found != settled.end()) pieces = TRY(cut(pieces, found->second, space));
    collect(pieces, blocks, out);
  }
  return out;
}

std::vector<StoredRun> cut_runs(std::span<const StoredRun> runs, std::span<const Range> to) {
  std::vector<StoredRun> kept;
  auto first = to.begin();
  for (const StoredRun& run : runs) {
    first =
        std::lower_bound(first, to.end(), run.offset, [](const Range& range, uint64_t at) { return range.end <= at; });
    for (auto range = first; range != to.end() && range->start < run.end(); ++range) {
      uint64_t start = std::max(run.offset, range->start), end = std::min(run.end(), range->end);
      kept.push_back({start, end - start, run.at + (start - run.offset)});
    }
  }
  return kept;
}

}  // namespace stint::store
