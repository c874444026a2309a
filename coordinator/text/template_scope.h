// The variables of a rendering: scopes within scopes. A macro keeps the scope it was defined in, so scopes
// live until the end of the rendering, but those that no macro keeps are used again. One thread.
#pragma once

#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

class Scope {
 public:
  // The name must outlive the rendering.
  void set(std::string_view name, Value value);
  // Here or in a scope around this one; null where there is none.
  const Value* find(std::string_view name) const;
  const Value* find_here(std::string_view name) const;
  // A macro refers to this scope from now on.
  void keep();

 private:
  friend class ScopePool;
  Scope* parent_ = nullptr;
  bool kept_ = false;
  std::vector<std::pair<std::string_view, Value>> variables_;
};

class ScopePool {
 public:
  // A scope for as long as this lives, inside `parent` (may be null).
  class Use {
   public:
    Use(ScopePool& pool, Scope* parent);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Scope& operator*() const { return *scope_; }
    Scope* operator->() const { return scope_; }

   private:
    ScopePool& pool_;
    Scope* scope_;
  };

 private:
  std::deque<Scope> scopes_;
  std::vector<Scope*> free_;
};

}  // namespace batchmax::coordinator::jinja
