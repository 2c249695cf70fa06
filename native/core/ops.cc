#include "ops.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "infer.h"

namespace lateforge {
namespace {

std::vector<Operand> parseOperands(const char* text) {
  std::vector<Operand> operands;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    Operand operand;
    for (bool suffix = true; suffix;) {
      switch (word.back()) {
        case '?':
          operand.optional = true;
          break;
        case '+':
          operand.accumulated = true;
          break;
        case '!':
          operand.overwritten = true;
          break;
        default:
          suffix = false;
      }
      if (suffix) word.pop_back();
    }
    operand.name = word;
    operands.push_back(operand);
  }
  return operands;
}

std::array<OpSpec, kOpCount> makeSpecs() {
  return {{
#define LF_INT(field) Field{#field, true},
#define LF_REAL(field) Field{#field, false},
#define OP(name, inputs, outputs, backward) \
  OpSpec{#name, parseOperands(inputs), parseOperands(outputs), {LF_PARAMS_##name(LF_INT, LF_REAL)}, backward},
      LF_OPS(OP)
#undef OP
#undef LF_INT
#undef LF_REAL
  }};
}

}  // namespace

bool Meta::countable() const {
  double most = 1;
  for (const int64_t d : dims) {
    if (d < 0) return false;
    most *= static_cast<double>(d > 0 ? d : 1);
  }
  return most <= 1e15;
}

std::string Meta::text() const {
  if (!present()) return "nothing";
  std::string text = std::string(nameOf(dtype)) + " [";
  for (int i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

Meta Meta::of(DType dtype, std::initializer_list<int64_t> dims) {
  Meta meta;
  meta.dtype = dtype;
  meta.rank = 0;
  for (int64_t d : dims) meta.dims[meta.rank++] = d;
  return meta;
}

View viewOf(const Meta& meta, void* data) {
  View view;
  view.data = data;
  view.dtype = meta.dtype;
  view.rank = meta.rank;
  std::copy_n(meta.dims, kMaxRank, view.dims);
  if (meta.facts && meta.facts->values) view.longest = longest(meta);
  return view;
}

const OpSpec& specOf(Op op) {
  // Never destroyed: streams may still run when the process exits.
  static const auto& specs = *new std::array<OpSpec, kOpCount>(makeSpecs());
  return specs[static_cast<size_t>(op)];
}

Status infer(Op op, const void* params, const Meta* in, Inferred& result) {
  const OpSpec& spec = specOf(op);
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    LF_REQUIRE(in[i].present() || spec.inputs[i].optional, "ERR_ARGUMENT", "%s: input %s is missing", spec.name,
               spec.inputs[i].name.c_str());
  switch (op) {
#define OP(name, inputs, outputs, backward) \
  case Op::name:                            \
    return infer_##name(*static_cast<const params::name*>(params), in, result);
    LF_OPS(OP)
#undef OP
    case Op::count:
      break;
  }
  return Status::error("ERR_ARGUMENT", "op %d does not exist", static_cast<int>(op));
}

}  // namespace lateforge
