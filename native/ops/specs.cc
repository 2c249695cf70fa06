// The op list as data, and the way from an op to its checks.
#include <array>
#include <sstream>

#include "shapes.h"

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
#define INT(field) Field{#field, true},
#define REAL(field) Field{#field, false},
#define OP(name, scratch, inputs, outputs, backward, ...) \
  OpSpec{#name, parseOperands(inputs), parseOperands(outputs), {__VA_ARGS__}, backward},
      LF_OPS(OP)
#undef OP
#undef INT
#undef REAL
  }};
}

}  // namespace

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
#define OP(name, ...) \
  case Op::name:      \
    return infer_##name(*static_cast<const params::name*>(params), in, result);
    LF_OPS(OP)
#undef OP
    case Op::count:
      break;
  }
  return Status::error("ERR_ARGUMENT", "op %d does not exist", static_cast<int>(op));
}

}  // namespace lateforge
