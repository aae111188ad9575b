// job.json. It is read by later versions, and may have been edited: nothing in it is trusted, what is missing is 0.
#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "job/state.h"
#include "sys/file.h"
#include "sys/procfs.h"

namespace stint::job {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
T number(const Json& object, const char* name) {
  if (!object.is_object()) return {};
  Json::const_iterator found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<T>() : T{};
}

bool flag(const Json& object, const char* name) {
  if (!object.is_object()) return false;
  Json::const_iterator found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// JSON holds UTF-8, arguments and paths any bytes: every byte becomes the character of its number, and back.
std::string to_text(const std::string& bytes) {
  std::string text;
  for (unsigned char byte : bytes) {
    if (byte < 0x80) {
      text += static_cast<char>(byte);
    } else {
      text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

std::string to_bytes(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x80 && i + 1 < text.size()) byte = static_cast<unsigned char>(byte << 6 | (text[++i] & 0x3f));
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string string(const Json& object, const char* name) {
  Json::const_iterator found = object.find(name);
  return found != object.end() && found->is_string() ? to_bytes(found->get<std::string>()) : std::string();
}

Json to_json(const Member& member) {
  return {{"pid", member.pid.number}, {"start_time", member.start_time}, {"job_pid", member.job_pid.number}};
}

Member member_in(const Json& object, const char* name) {
  Json::const_iterator found = object.find(name);
  if (found == object.end()) return {};
  return {Pid{number<int>(*found, "pid")}, number<uint64_t>(*found, "start_time"),
          JobPid{number<int>(*found, "job_pid")}};
}

Json to_json(const Stream& stream) {
  return {{"open", stream.open},       {"device", stream.device},   {"inode", stream.inode},
          {"special", stream.special}, {"outside", stream.outside}, {"terminal", stream.terminal}};
}

Stream stream_in(const Json& object) {
  return {flag(object, "open"),
          number<uint64_t>(object, "device"),
          number<uint64_t>(object, "inode"),
          number<uint64_t>(object, "special"),
          flag(object, "outside"),
          flag(object, "terminal")};
}

}  // namespace

Result<> write_job(const Job& job) {
  Json json = {{"name", job.name},
               {"arguments", Json::array()},
               {"working_directory", to_text(job.working_directory)},
               {"uid", job.uid},
               {"gid", job.gid},
               {"contained", job.contained},
               {"generation", job.generation},
               {"started", job.started},
               {"supervisor", to_json(job.supervisor)},
               {"init", to_json(job.init)},
               {"stand_in", to_json(job.stand_in)},
               {"root", to_json(job.root)},
               {"streams", Json::array()},
               {"terminal_device", job.terminal_device},
               {"agent_hash", job.agent_hash},
               {"stand_ins", Json::array()}};
  for (const image::StandIn& stand_in : job.stand_ins)
    json["stand_ins"].push_back({{"pid", stand_in.pid}, {"pgid", stand_in.pgid}, {"sid", stand_in.sid}});
  for (const std::string& argument : job.arguments) json["arguments"].push_back(to_text(argument));
  for (const Stream& stream : job.streams) json["streams"].push_back(to_json(stream));
  std::string path = job.directory + "/job.json";
  sys::UniqueFd file = TRY(sys::open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(sys::write_all(file.get(), bytes_of(json.dump(1) + "\n")).in(path));
  return sys::rename(path + ".new", path);
}

Result<Job> read_job(const std::string& directory) {
  std::string path = directory + "/job.json";
  Json json = Json::parse(TRY(sys::read_whole(path)), nullptr, false);
  if (!json.is_object()) return damaged(path + ": is not JSON");
  Job job;
  job.name = directory.substr(directory.rfind('/') + 1);
  job.directory = directory;
  for (const Json& argument : json.value("arguments", Json::array())) {
    if (argument.is_string()) job.arguments.push_back(to_bytes(argument.get<std::string>()));
  }
  job.working_directory = string(json, "working_directory");
  job.uid = number<uint32_t>(json, "uid");
  job.gid = number<uint32_t>(json, "gid");
  job.contained = flag(json, "contained");
  job.generation = number<uint32_t>(json, "generation");
  job.started = number<int64_t>(json, "started");
  job.supervisor = member_in(json, "supervisor");
  job.init = member_in(json, "init");
  job.stand_in = member_in(json, "stand_in");
  job.root = member_in(json, "root");
  Json streams = json.value("streams", Json::array());
  for (size_t i = 0; streams.is_array() && i < job.streams.size() && i < streams.size(); ++i) {
    job.streams[i] = stream_in(streams[i]);
  }
  job.terminal_device = number<uint64_t>(json, "terminal_device");
  job.agent_hash = string(json, "agent_hash");
  for (const Json& stand_in : json.value("stand_ins", Json::array()))
    job.stand_ins.push_back(
        {number<int32_t>(stand_in, "pid"), number<int32_t>(stand_in, "pgid"), number<int32_t>(stand_in, "sid")});
  return job;
}

}  // namespace stint::job
