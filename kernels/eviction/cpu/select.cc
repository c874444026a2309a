// One thread per (layer, row, KV head): values, then the order of the unprotected candidates as 64-bit keys
// (no two equal), of which an exact selection finds the victims. Expected linear in the candidates.
#include <algorithm>

#include "kernels/core/cpu/team.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/cpu/scratch.h"
#include "kernels/eviction/cpu/values.h"
#include "kernels/eviction/order.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr uint64_t kProtected = UINT64_MAX;  // above every candidate's key: no score orders above +inf

// Fills keys (kProtected where protected) and the other arrays of `scratch`; ordered holds the unprotected
// keys. Returns their number.
int32_t order_candidates(const Selection& selection, int32_t layer, int32_t row_index, int32_t head,
                         const Scratch& scratch) {
  const Candidates& candidates = selection.candidates;
  const Row& row = candidates.rows.data[row_index];
  const int32_t count = candidate_count(candidates.pool, row);
  const float* values = scratch.values;
  if (selection.layer_scores) {
    const int64_t pair = static_cast<int64_t>(layer) * candidates.rows.count + row_index;
    values = selection.layer_scores.as<float>() + pair * selection.pitch;
  } else {
    head_values(candidates, candidates.layer_begin + layer, row, head, scratch.values);
  }
  head_positions(candidates, candidates.layer_begin + layer, row, head, scratch.positions);
  const bool averaged = needs_mass(candidates.score);
  const int32_t now = last_position(row);
  int32_t evictable = 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t position = scratch.positions[i];
    if (is_protected(row, position)) {
      scratch.keys[i] = kProtected;
      continue;
    }
    const float score = averaged ? average_score(values[i], now - position) : values[i];
    scratch.keys[i] = victim_key(order_key(score), position);
    scratch.ordered[evictable++] = scratch.keys[i];
  }
  return evictable;
}

// The key of the last of `victims` (>= 1) victims: all keys up to it are victims.
uint64_t last_victim(const Scratch& scratch, int32_t evictable, int32_t victims) {
  CHECK_LE(victims, evictable);
  std::nth_element(scratch.ordered, scratch.ordered + victims - 1, scratch.ordered + evictable);
  return scratch.ordered[victims - 1];
}

// Runs work(layer, row index, head, scratch) over all of them; what one does depends on nothing of the
// others.
template <typename Work>
void for_each_head(const Selection& selection, Work work) {
  const int32_t rows = selection.candidates.rows.count;
  const int32_t heads = selection.candidates.kv.kv_heads;
  const int64_t parts = static_cast<int64_t>(selection.candidates.layer_count) * rows * heads;
#pragma omp parallel for schedule(dynamic) if (parts > 1)
  for (int64_t part = 0; part < parts; ++part) {
    const auto head = static_cast<int32_t>(part % heads);
    const auto row = static_cast<int32_t>(part / heads % rows);
    if (selection.candidates.rows.data[row].sequence == kNoSequence) continue;
    const auto layer = static_cast<int32_t>(part / heads / rows);
    work(layer, row, head, scratch_of(selection.workspace, selection.pitch, this_thread()));
  }
}

// Destinations of the new candidates [first_new, count) of one head; entry i at dest[i * stride].
void place(const Row& row, const Scratch& scratch, int32_t evictable, int32_t first_new, int32_t count,
           int32_t* dest, int32_t stride) {
  const int32_t victims = count - row.keep;
  if (victims <= 0) {  // Pool::block only: a tail row without surplus has no entries
    for (int32_t i = first_new; i < count; ++i) dest[static_cast<int64_t>(i - first_new) * stride] = i;
    return;
  }
  const uint64_t last = last_victim(scratch, evictable, victims);
  int32_t vacant = 0;  // walks the slots: a victim's, or one from first_new on
  for (int32_t i = first_new; i < count; ++i) {
    int32_t& to = dest[static_cast<int64_t>(i - first_new) * stride];
    to = -1;
    if (scratch.keys[i] <= last) continue;
    while (vacant < first_new && scratch.keys[vacant] > last) ++vacant;
    to = vacant++;
  }
  CHECK_LE(vacant, row.keep);
}

}  // namespace

void select_keep(const Stream&, const Selection& selection, const Tensor& dest) {
  const Candidates& candidates = selection.candidates;
  const Rows& rows = candidates.rows;
  const bool tail = candidates.pool == Pool::tail;
  const int32_t heads = candidates.kv.kv_heads;
  for_each_head(selection, [&](int32_t layer, int32_t row_index, int32_t head, const Scratch& scratch) {
    const Row& row = rows.data[row_index];
    const int32_t count = candidate_count(candidates.pool, row);
    const int32_t first_new = tail ? row.keep : row.resident;
    if (tail && count <= row.keep) return;
    int64_t first_entry = row.token_begin;
    if (tail) {
      first_entry = 0;
      for (int32_t r = 0; r < row_index; ++r) first_entry += tail_surplus(rows.data[r]);
    }
    const int32_t evictable =
        count > row.keep ? order_candidates(selection, layer, row_index, head, scratch) : 0;
    place(row, scratch, evictable, first_new, count, dest.as<int32_t>() + first_entry * heads + head, heads);
  });
}

void select_victims(const Stream&, const Selection& selection, const Tensor& queues) {
  const Candidates& candidates = selection.candidates;
  const int64_t layers = queues.dim(1);
  const int64_t heads = queues.dim(2);
  const int64_t depth = queues.dim(3);
  for_each_head(selection, [&](int32_t layer, int32_t row_index, int32_t head, const Scratch& scratch) {
    const Row& row = candidates.rows.data[row_index];
    if (row.victims == 0) return;
    const int32_t evictable = order_candidates(selection, layer, row_index, head, scratch);
    const uint64_t last = last_victim(scratch, evictable, row.victims);
    std::sort(scratch.ordered, scratch.ordered + row.victims);
    int32_t* queue = queues.as<int32_t>() +
                     ((row.sequence * layers + candidates.layer_begin + layer) * heads + head) * depth;
    for (int32_t slot = 0; slot < row.keep; ++slot) {
      if (scratch.keys[slot] > last) continue;
      const uint64_t* place_in_order =
          std::lower_bound(scratch.ordered, scratch.ordered + row.victims, scratch.keys[slot]);
      queue[place_in_order - scratch.ordered] = slot;
    }
  });
}

}  // namespace batchmax::kernels::cpu
