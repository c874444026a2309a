// A JSON file of a model folder. Any thread.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace batchmax::worker {

// Throws std::runtime_error that begins with the path: it cannot be read, is no JSON, or no object.
boost::json::object read_json_object(const std::string& path);

}  // namespace batchmax::worker
