// Values of a chat template: Python's, as far as templates see them. Immutable and cheap to copy, except the
// objects (namespace, cycler, joiner), which belong to one rendering. One thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace batchmax::coordinator::jinja {

// An operation that a template may not do; the evaluator adds the line and makes a TemplateError of it.
class OperationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Values are printed, compared and freed by recursion.
inline constexpr int kMaxNesting = 100;

class Value;
class List;
class Dict;
class Object;
struct Rendering;

struct None {};
// What a missing variable, attribute or item gives: empty text, and an error once it is used otherwise.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  static Value undefined(std::string reason);
  // Not inline: with sanitizers GCC 12 takes what it sees of the variant for uninitialised.
  static Value none();
  static Value boolean(bool truth);
  static Value integer(int64_t number);
  static Value real(double number);
  static Value string(std::string text);  // valid UTF-8
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  // What Python computes only when asked: true whatever it holds, without length or items by number.
  static Value generator(std::vector<Value> items);
  static Value group(Value grouper, Value list);  // of groupby: a tuple whose items have names
  static Value dict(Dict dict);
  static Value object(std::shared_ptr<Object> object);
  static Value from_json(const boost::json::value& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }  // not of a bool
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_integer() || is_real(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }  // of any kind
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  bool is_object() const { return std::holds_alternative<std::shared_ptr<Object>>(data_); }

  // REQUIRES the kind.
  const std::string& as_string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& as_object() const { return *std::get<std::shared_ptr<Object>>(data_); }
  const std::string& why_undefined() const { return *std::get<Undefined>(data_).reason; }
  // REQUIRES a number. Whole: a bool counts as 0 or 1.
  int64_t as_integer() const;
  double as_real() const;

  bool truth() const;
  bool is_callable() const;
  int nesting() const;  // 0: no list or dict
  // At least the bytes that text() takes. What looks at all of a value is charged by it: lists that hold the
  // same list twice, and so on, are exponentially larger than their memory.
  uint64_t weight() const;
  // As Python names the type: str, int, NoneType, ...
  std::string type_name() const;
  // Throws OperationError where it has no length.
  size_t length() const;
  // The items that a loop sees: characters of a string, keys of a dict. Throws where there are none.
  std::vector<Value> items() const;
  // Equality of Python: numbers by value, lists item by item.
  friend bool operator==(const Value& a, const Value& b);
  // Negative, zero, positive. Throws where Python cannot order the two.
  static int compare(const Value& a, const Value& b, std::string_view operation);
  bool same_as(const Value& other) const;

  // str() and repr().
  std::string text() const;
  std::string representation() const;

 private:
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

class List {
 public:
  enum class Kind { kList, kTuple, kGenerator };
  // Throws OperationError where lists and dicts would nest deeper than kMaxNesting.
  List(std::vector<Value> values, Kind sort);
  std::vector<Value> items;
  Kind kind;
  bool is_group = false;  // a tuple of two that have names: grouper and list
  int nesting = 1;
  uint64_t weight = 2;
};

// In order of insertion; a key given again keeps its place.
class Dict {
 public:
  // Throws OperationError for a key that Python cannot hash, and like List.
  void set(const Value& key, Value value);
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  int nesting() const { return nesting_; }
  uint64_t weight() const { return weight_; }

 private:
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_map<std::string, size_t> places_;  // by what makes keys equal
  int nesting_ = 1;
  uint64_t weight_ = 2;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Something with identity: a function, a macro, a namespace, the variable `loop`.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::optional<Value> attribute(std::string_view) const { return std::nullopt; }
  virtual bool is_callable() const { return false; }
  virtual Value call(Rendering& rendering, const Arguments& arguments);
  // Drops what it refers to, so that a circle of objects can be freed.
  virtual void clear() {}
};

// A mapping from names to values that templates may assign to.
class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(std::string_view name) const override;
  void set(std::string_view name, Value value);
  void clear() override { values_ = Dict(); }

 private:
  Dict values_;
};

// A number and a quoted string as Python writes them.
std::string python_real(double number);
std::string python_quoted(std::string_view text);

}  // namespace batchmax::coordinator::jinja
