#include "assay/model/roles.h"

#include <array>
#include <cctype>
#include <utility>

#include "assay/base/error.h"

namespace assay {

namespace {

struct RoleName {
  Role role;
  std::string_view name;
};
constexpr std::array kRoleNames = {
    RoleName{Role::embedding, "embedding"},
    RoleName{Role::head, "head"},
    RoleName{Role::attention_q, "attention.q"},
    RoleName{Role::attention_k, "attention.k"},
    RoleName{Role::attention_v, "attention.v"},
    RoleName{Role::attention_o, "attention.o"},
    RoleName{Role::linear_attention_in, "linear_attention.in"},
    RoleName{Role::linear_attention_gates, "linear_attention.gates"},
    RoleName{Role::linear_attention_out, "linear_attention.out"},
    RoleName{Role::mlp_gate, "mlp.gate"},
    RoleName{Role::mlp_up, "mlp.up"},
    RoleName{Role::mlp_down, "mlp.down"},
    RoleName{Role::expert_gate, "expert.gate"},
    RoleName{Role::expert_up, "expert.up"},
    RoleName{Role::expert_down, "expert.down"},
    RoleName{Role::expert_gate_up, "expert.gate_up"},
    RoleName{Role::shared_expert_gate_proj, "shared_expert.gate"},
    RoleName{Role::shared_expert_up, "shared_expert.up"},
    RoleName{Role::shared_expert_down, "shared_expert.down"},
    RoleName{Role::router, "router"},
    RoleName{Role::shared_expert_gate, "shared_expert_gate"},
    RoleName{Role::norm, "norm"},
    RoleName{Role::convolution, "convolution"},
    RoleName{Role::decay, "decay"},
    RoleName{Role::bias, "bias"},
    RoleName{Role::multi_token_prediction, "multi_token_prediction"},
    RoleName{Role::vision, "vision"},
};

constexpr std::array<std::string_view, 5> kPrefixes = {"", "model.", "model.language_model.",
                                                       "language_model.model.", "language_model."};

// The whole name behind a prefix must match: '#' stands for a number, '@' for letters, digits and '_'.
struct Pattern {
  std::string_view text;
  Role role;
};
constexpr std::array kPatterns = {
    Pattern{"embed_tokens.weight", Role::embedding},
    Pattern{"lm_head.weight", Role::head},
    Pattern{"layers.#.self_attn.q_proj.weight", Role::attention_q},
    Pattern{"layers.#.self_attn.k_proj.weight", Role::attention_k},
    Pattern{"layers.#.self_attn.v_proj.weight", Role::attention_v},
    Pattern{"layers.#.self_attn.o_proj.weight", Role::attention_o},
    Pattern{"layers.#.linear_attn.in_proj_qkvz.weight", Role::linear_attention_in},
    Pattern{"layers.#.linear_attn.in_proj_qkv.weight", Role::linear_attention_in},
    Pattern{"layers.#.linear_attn.in_proj_z.weight", Role::linear_attention_in},
    Pattern{"layers.#.linear_attn.in_proj_ba.weight", Role::linear_attention_gates},
    Pattern{"layers.#.linear_attn.in_proj_b.weight", Role::linear_attention_gates},
    Pattern{"layers.#.linear_attn.in_proj_a.weight", Role::linear_attention_gates},
    Pattern{"layers.#.linear_attn.out_proj.weight", Role::linear_attention_out},
    Pattern{"layers.#.mlp.gate_proj.weight", Role::mlp_gate},
    Pattern{"layers.#.mlp.up_proj.weight", Role::mlp_up},
    Pattern{"layers.#.mlp.down_proj.weight", Role::mlp_down},
    Pattern{"layers.#.mlp.experts.#.gate_proj.weight", Role::expert_gate},
    Pattern{"layers.#.mlp.experts.#.up_proj.weight", Role::expert_up},
    Pattern{"layers.#.mlp.experts.#.down_proj.weight", Role::expert_down},
    Pattern{"layers.#.mlp.experts.gate_up_proj", Role::expert_gate_up},
    Pattern{"layers.#.mlp.experts.down_proj", Role::expert_down},
    Pattern{"layers.#.mlp.switch_mlp.gate_proj.weight", Role::expert_gate},
    Pattern{"layers.#.mlp.switch_mlp.up_proj.weight", Role::expert_up},
    Pattern{"layers.#.mlp.switch_mlp.down_proj.weight", Role::expert_down},
    Pattern{"layers.#.mlp.shared_expert.gate_proj.weight", Role::shared_expert_gate_proj},
    Pattern{"layers.#.mlp.shared_expert.up_proj.weight", Role::shared_expert_up},
    Pattern{"layers.#.mlp.shared_expert.down_proj.weight", Role::shared_expert_down},
    Pattern{"layers.#.mlp.gate.weight", Role::router},
    Pattern{"layers.#.mlp.shared_expert_gate.weight", Role::shared_expert_gate},
    Pattern{"norm.weight", Role::norm},
    Pattern{"layers.#.@layernorm.weight", Role::norm},
    Pattern{"layers.#.self_attn.q_norm.weight", Role::norm},
    Pattern{"layers.#.self_attn.k_norm.weight", Role::norm},
    Pattern{"layers.#.linear_attn.norm.weight", Role::norm},
    Pattern{"layers.#.linear_attn.conv1d.weight", Role::convolution},
    Pattern{"layers.#.linear_attn.A_log", Role::decay},
    Pattern{"layers.#.linear_attn.dt_bias", Role::decay},
};

constexpr std::string_view kMultiTokenPredictionPrefix = "mtp.";
constexpr std::array<std::string_view, 3> kVisionPrefixes = {"visual.", "model.visual.", "vision_tower."};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Does the whole name match the pattern?
bool matches(std::string_view pattern, std::string_view name) {
  while (!pattern.empty()) {
    if (pattern.front() == '#') {
      std::size_t digits = 0;
      while (digits < name.size() && is_digit(name[digits])) ++digits;
      if (digits == 0) return false;
      name.remove_prefix(digits);
    } else if (pattern.front() == '@') {
      // The word may end in the pattern's own next letters, so try every length.
      for (std::size_t length = 0; length <= name.size(); ++length) {
        if (matches(pattern.substr(1), name.substr(length))) return true;
        if (length < name.size() && !is_word(name[length])) break;
      }
      return false;
    } else {
      if (name.empty() || name.front() != pattern.front()) return false;
      name.remove_prefix(1);
    }
    pattern.remove_prefix(1);
  }
  return name.empty();
}

bool is_adapter(std::string_view name) {
  return name.find(".lora_A.") != std::string_view::npos || name.find(".lora_B.") != std::string_view::npos;
}

std::optional<Role> classify_inside_prefixes(std::string_view name) {
  for (std::string_view prefix : kPrefixes) {
    if (!name.starts_with(prefix)) continue;
    for (const Pattern& pattern : kPatterns)
      if (matches(pattern.text, name.substr(prefix.size()))) return pattern.role;
  }
  return std::nullopt;
}

}  // namespace

std::string_view role_name(Role role) {
  for (const RoleName& entry : kRoleNames)
    if (entry.role == role) return entry.name;
  return "unknown";  // not reached: a test holds the table against the enumeration
}

std::optional<Role> parse_role(std::string_view name) {
  for (const RoleName& entry : kRoleNames)
    if (entry.name == name) return entry.role;
  return std::nullopt;
}

std::optional<Role> classify_tensor(std::string_view name) {
  if (is_adapter(name)) return std::nullopt;
  // These two own everything below them, whatever it is called.
  if (name.starts_with(kMultiTokenPredictionPrefix)) return Role::multi_token_prediction;
  for (std::string_view prefix : kVisionPrefixes)
    if (name.starts_with(prefix)) return Role::vision;
  if (name.ends_with(".bias")) {
    // A bias belongs to a known module or to none.
    const std::string weight = std::string(name.substr(0, name.size() - 4)) + "weight";
    return classify_inside_prefixes(weight) ? std::optional(Role::bias) : std::nullopt;
  }
  return classify_inside_prefixes(name);
}

Role require_role(std::string_view name, const std::string& origin) {
  if (const auto role = classify_tensor(name)) return *role;
  if (is_adapter(name))
    fail("{}: tensor {}: a LoRA adapter inside a base checkpoint; merge it into the weights first", origin,
         name);
  std::string accepted;
  for (const Pattern& pattern : kPatterns) accepted += " " + std::string(pattern.text);
  fail(
      "{}: tensor {}: unknown name; accepted (# is a number, prefixes {}, .bias of each, mtp.*, visual.*):{}",
      origin, name, "model. | model.language_model. | language_model.model. | language_model. | none",
      accepted);
}

bool is_block_matrix(Role role) {
  switch (role) {
    case Role::attention_q:
    case Role::attention_k:
    case Role::attention_v:
    case Role::attention_o:
    case Role::linear_attention_in:
    case Role::linear_attention_gates:
    case Role::linear_attention_out:
    case Role::mlp_gate:
    case Role::mlp_up:
    case Role::mlp_down:
    case Role::expert_gate:
    case Role::expert_up:
    case Role::expert_down:
    case Role::expert_gate_up:
    case Role::shared_expert_gate_proj:
    case Role::shared_expert_up:
    case Role::shared_expert_down:
    case Role::router:
    case Role::shared_expert_gate:
      return true;
    default:
      return false;
  }
}

bool is_expert_matrix(Role role) {
  return role == Role::expert_gate || role == Role::expert_up || role == Role::expert_down ||
         role == Role::expert_gate_up;
}

bool is_turned_convolution(const Tensor& tensor) {
  return classify_tensor(tensor.name) == Role::convolution && tensor.shape.size() == 3 &&
         tensor.shape[1] > 1 && tensor.shape[2] == 1;
}

int floor_bits(Role role) {
  switch (role) {
    case Role::embedding:
    case Role::head:
    case Role::shared_expert_gate_proj:
    case Role::shared_expert_up:
    case Role::shared_expert_down:
      return 4;
    case Role::linear_attention_gates:
    case Role::router:
    case Role::shared_expert_gate:
      return 8;
    case Role::norm:
    case Role::convolution:
    case Role::decay:
    case Role::bias:
      return 16;
    default:
      return 0;
  }
}

namespace {

/// The number at the start of `text` that a dot ends, or -1.
int leading_number(std::string_view text) {
  int number = 0;
  std::size_t at = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    if (number > 1000000) return -1;  // no such model: and no overflow
    number = number * 10 + (text[at] - '0');
  }
  return at > 0 && at < text.size() && text[at] == '.' ? number : -1;
}

}  // namespace

int layer_of(std::string_view name) {
  if (name.starts_with(kMultiTokenPredictionPrefix)) return -1;
  for (std::string_view prefix : kPrefixes) {
    const std::string start = std::string(prefix) + "layers.";
    if (name.starts_with(start)) return leading_number(name.substr(start.size()));
  }
  return -1;
}

int expert_of(std::string_view name) {
  constexpr std::string_view kExperts = ".mlp.experts.";
  const std::size_t at = name.find(kExperts);
  return at == std::string_view::npos ? -1 : leading_number(name.substr(at + kExperts.size()));
}

}  // namespace assay
