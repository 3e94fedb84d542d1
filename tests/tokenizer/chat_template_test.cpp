// Chat templates against what Jinja2 makes of them (tests/reference/chat_templates.py).
#include "assay/tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/base/json.h"
#include "tests/support.h"

namespace assay {
namespace {

std::string render(const std::string& source, const ChatTemplateInput& input = {}) {
  return render_chat_template(source, input, "model");
}

ChatTemplateInput input_of(const Json& data, const Json& given) {
  ChatTemplateInput input;
  for (const Json& message : data["conversations"][given["conversation"].get<std::string>()])
    input.messages.push_back({message["role"], message["content"]});
  input.add_generation_prompt = given["add_generation_prompt"];
  input.bos_token = given["bos_token"];
  input.eos_token = given["eos_token"];
  input.date = "2024-07-26";
  return input;
}

TEST(ChatTemplate, AgreesWithJinja2) {
  const Json data = read_json_file(test::project("tests/data/chat_templates.json"));
  for (const Json& given : data["cases"]) {
    const std::string source =
        given.contains("expression")
            ? "{{ " + given["expression"].get<std::string>() + " }}"
            : data["templates"][given["template"].get<std::string>()].get<std::string>();
    SCOPED_TRACE(given.value("template", source) + " / " + given["conversation"].get<std::string>());
    if (given.contains("refused")) {
      EXPECT_ERROR(render(source, input_of(data, given)), "model: chat template line ");
      continue;
    }
    try {
      EXPECT_EQ(render(source, input_of(data, given)), given["expected"].get<std::string>());
    } catch (const Error& problem) {
      ADD_FAILURE() << problem.what();
    }
  }
}

TEST(ChatTemplate, WhatLiesOutsideTheSubsetIsRefusedWithItsLine) {
  const auto refuse = [](const std::string& source, const char* named) {
    EXPECT_ERROR(render("\n" + source), "model: chat template line 2: ", named);
  };
  refuse("{% include 'x' %}", "{% include %}");
  refuse("{% raw %}{{ x }}{% endraw %}", "{% raw %}");
  refuse("{% call x() %}{% endcall %}", "{% call %}");
  refuse("{% for x in [] recursive %}{% endfor %}", "recursive");
  refuse("{% for x.y in [] %}{% endfor %}", "attribute");
  refuse("{% for x of [] %}{% endfor %}", "found \"of\"");
  refuse("{% for x in [1] %}{% macro m() %}{% endmacro %}{% endfor %}", "macro");
  refuse("{% macro m(a=1, b) %}{% endmacro %}", "\"b\"");
  refuse("{% macro m(a) %}{{ varargs }}{% endmacro %}{{ m(1) }}", "\"varargs\"");
  refuse("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "m: an argument");
  refuse("{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}", "given twice");
  refuse("{% break %}", "outside a loop");
  refuse("{% if true %}", "endif");
  refuse("{% for x in [] %}", "endfor");
  refuse("{% endif %}", "{% endif %}");
  refuse("{% if true %}{% endif x %}", "found \"x\"");
  refuse("{% %}", "without a name");
  refuse("{% set x.y.z = 1 %}", "found \".\"");
  refuse("{% set x = 1 %}{% set x.y = 1 %}", "\"x\" is a number");
  refuse("{% set a, b = [1] %}", "2 names for 1 values");
  refuse("{% set n = namespace() %}{% set n.n = [n] %}", "namespace inside a namespace");
  refuse("{% set n = namespace(m=namespace()) %}", "namespace inside a namespace");
  refuse("{{ namespace({}) }}", "named arguments");
  refuse("{{ x", "does not end");
  refuse("{# x", "does not end");
  refuse("{{ ) }}", "closes nothing");
  refuse("{{ $ }}", "\"$\"");
  refuse("{{ '\\N{DASH}' }}", "\\N");
  refuse("{{ '\\ud800' }}", "is not a character");
  refuse("{{ 2 ** 3 }}", "**");
  refuse("{{ 1e5 }}", "\"1e\"");
  refuse("{{ 9223372036854775808 }}", "64 bits");
  refuse("{{ 9223372036854775807 + 1 }}", "64 bits");
  refuse("{{ -9223372036854775807 - 2 }}", "64 bits");
  refuse("{{ 1.5 // 1 }}", "//");
  refuse("{{ 1.5 / 0 }}", "division by zero");
  refuse("{{ [1] }}", "tojson");
  refuse("{{ {1: 2} }}", "a string as key");
  refuse("{{ 'x'.strip }}", "not called");
  refuse("{{ {}['items'] }}", "not called");
  refuse("{{ 'x'.zfill(3) }}", "zfill");
  refuse("{{ {}.pop() }}", "pop");
  refuse("{{ [1].append(2) }}", "append");
  refuse("{{ 'stra\u00dfe'|upper }}", "outside ASCII");
  refuse("{{ 'a'|replace('', 'b') }}", "empty pattern");
  refuse("{{ 'a'|replace('b') }}", "\"new\" is missing");
  refuse("{{ 'a'|replace(1, 2) }}", "a string expected");
  refuse("{{ 'a'|replace('a', 'b', 'c') }}", "count");
  refuse("{{ 'a'.count('') }}", "count");
  refuse("{{ 'a'.split(',', 'x') }}", "maxsplit");
  refuse("{{ 1|tojson(indent=99) }}", "indent");
  refuse("{{ 1e }}", "\"1e\"");
  refuse("{{ dict(a=1) }}", "\"dict\"");
  refuse("{% for x in [1] %}{{ loop.cycle }}{% endfor %}", "loop.cycle");
  refuse("{{ range('a') }}", "range");
  refuse("{{ [1]['a':] }}", "slice bound");
  refuse("{{ strftime_now('%d') }}", "date");
  refuse("{{ messages[0] and f(a=1, 2) }}", "a named argument");
}

TEST(ChatTemplate, TheDateIsTheCallersOwn) {
  ChatTemplateInput input;
  input.date = "2025-03-09";
  EXPECT_EQ(render("{{ strftime_now('%d %m %y %Y %b %B %%') }}", input), "09 03 25 2025 Mar March %");
  EXPECT_ERROR(render("{{ strftime_now('%H') }}", input), "directive");
  input.date = "yesterday";
  EXPECT_ERROR(render("{{ strftime_now('%d') }}", input), "\"yesterday\"");
  input.date = "2025-13-01";
  EXPECT_ERROR(render("{{ strftime_now('%d') }}", input), "2025-13-01");
}

TEST(ChatTemplate, WorkMemoryAndRecursionAreBounded) {
  const auto refuse = [](const std::string& source, const char* named) {
    EXPECT_ERROR(render(source), named);
  };
  refuse("{% for i in range(100000000) %}{% endfor %}", "steps");
  refuse("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "steps");
  refuse("{% set n = namespace(x='xx') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
         "steps");
  refuse("{{ 'x' * 9000000000000000000 }}", "steps");
  refuse("{{ 'xxxx' * 4611686018427387904 }}", "steps");
  refuse("{% set n = namespace(x=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}",
         "nested deeper");
  refuse(
      "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x == "
      "[n.x] }}"
      "{{ n.x|tojson }}",
      "steps");
  refuse("{% macro m(i) %}{{ m(i + 1) }}{% endmacro %}{{ m(0) }}", "nested deeper");
  refuse("{{ " + std::string(200, '(') + "1" + std::string(200, ')') + " }}", "nested deeper");
  refuse("{{ " + std::string(200, '[') + std::string(200, ']') + " }}", "nested deeper");
  refuse("{{ " + std::string(200, '-') + "1 }}", "nested deeper");
  // Just below the limits, and just above.
  const auto nest = [](int times) {
    return "{% set n = namespace(x=[]) %}{% for i in range(" + std::to_string(times) +
           ") %}{% set n.x = [n.x] %}{% endfor %}";
  };
  EXPECT_EQ(render(nest(63)), "");
  refuse(nest(64), "nested deeper than 64 levels");
  const auto sum = [](int terms) {
    std::string source = "{{ 1";
    for (int i = 1; i < terms; ++i) source += " + 1";
    return source + " }}";
  };
  EXPECT_EQ(render(sum(128)), "128");
  refuse(sum(129), "more than 128 levels");
  std::string nots = "{{ ", ifs;
  for (int i = 0; i < 1000; ++i) {
    nots += "not ";
    ifs += "{% if true %}";
  }
  refuse(nots + "1 }}", "levels");
  refuse(ifs, "nested deeper");
}

TEST(ChatTemplate, ALongConversationIsNoProblem) {
  ChatTemplateInput input;
  for (int i = 0; i < 2000; ++i)
    input.messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(500, 'x')});
  const std::string source =
      "{% for m in messages %}{{ '<' ~ m.role ~ '>' + m['content'] | trim }}{% if loop.last %}.{% endif %}{% "
      "endfor %}";
  EXPECT_EQ(render(source, input).size(), 2000U * 500 + 1000 * 6 + 1000 * 11 + 1);
}

TEST(ChatTemplate, TheSharedModelsTemplatesRender) {
  ASSAY_NEEDS_SHARED("models/small/tokenizer_config.json");
  const Json config = read_json_file(test::shared("models/small/tokenizer_config.json"));
  ChatTemplateInput input;
  input.messages = {{"user", "Hi"}};
  EXPECT_EQ(render(config["chat_template"].get<std::string>(), input),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace assay
