#include "coordinator/text/template_scope.h"

namespace batchmax::coordinator::jinja {

void Scope::set(std::string_view name, Value value) {
  for (auto& [own, current] : variables_) {
    if (own != name) continue;
    current = std::move(value);
    return;
  }
  variables_.emplace_back(name, std::move(value));
}

const Value* Scope::find_here(std::string_view name) const {
  for (const auto& [own, value] : variables_)
    if (own == name) return &value;
  return nullptr;
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_)
    if (const Value* value = scope->find_here(name)) return value;
  return nullptr;
}

void Scope::keep() {
  for (Scope* scope = this; scope != nullptr; scope = scope->parent_) scope->kept_ = true;
}

ScopePool::Use::Use(ScopePool& pool, Scope* parent) : pool_(pool) {
  if (pool.free_.empty()) {
    scope_ = &pool.scopes_.emplace_back();
  } else {
    scope_ = pool.free_.back();
    pool.free_.pop_back();
  }
  scope_->parent_ = parent;
}

ScopePool::Use::~Use() {
  if (scope_->kept_) return;
  scope_->variables_.clear();
  pool_.free_.push_back(scope_);
}

}  // namespace batchmax::coordinator::jinja
