// What `stint show CHECKPOINT` prints: the records as JSON, and tables of memory, files,
// descriptors and threads for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "store/reader.h"

namespace stint::store {

// All records in their order, each with "type", and a summary of the pages of each space.
Result<nlohmann::ordered_json> show_json(const Reader& reader);

// One line for each mapping: where, of which object and segment, how much is mapped, changed, saved; sums at the end.
Result<std::string> memory_table(const Reader& reader);
Result<nlohmann::ordered_json> memory_json(const Reader& reader);

// The files that come back from the file system: mapped ones, and those that the job held open.
Result<std::string> files_table(const Reader& reader);
Result<nlohmann::ordered_json> files_json(const Reader& reader);

// What is behind a descriptor, in a few words: `description` is the JSON of the record, from which some fields may have
// been taken.
std::string describe(const nlohmann::ordered_json& description);

// One line for each descriptor and what is behind it.
Result<std::string> fds_table(const Reader& reader);
Result<nlohmann::ordered_json> fds_json(const Reader& reader);

// One line for each thread: where it stood, and how it goes on.
Result<std::string> threads_table(const Reader& reader);
Result<nlohmann::ordered_json> threads_json(const Reader& reader);

}  // namespace stint::store
