#!/usr/bin/env python3
"""Writes tests/data/chat_templates.json: templates, messages, and what Jinja2 renders them to in the environment that
transformers sets up for chat templates. Needs: pip install jinja2."""

import json
import os

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "chat_templates.json")
DATE = {"%d %b %Y": "26 Jul 2024", "%B %d, %Y": "July 26, 2024", "%Y-%m-%d": "2024-07-26"}

CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

CHATML_DEFAULT_SYSTEM = """{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system = 'You are a helpful assistant.' %}
    {%- set turns = messages %}
{%- endif %}
{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' }}
{%- for message in turns %}
    {%- if message.role == "user" or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {{- message.content | tojson }}
    {%- else %}
        {{- raise_exception('role ' ~ message.role ~ ' is not known') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# The behaviour of Qwen3's template: reasoning of earlier turns is dropped, that of the last is kept.
THINKING = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set state = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set position = (messages|length - 1) - loop.index0 %}
    {%- if state.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set state.searching = false %}
        {%- set state.last = position %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > state.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""

# The behaviour of Llama 3.2's template without tools.
LLAMA32 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The first message may be the system's. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# TinyLlama's style: newlines of the template itself matter.
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

# SmolLM2's style.
SMOL = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

MACROS = """{%- macro turn(role, text='(nothing)', last=false) -%}
<{{ role }}>{{ text|trim }}</{{ role }}>{% if last %}!{% endif %}
{%- endmacro -%}
{% for m in messages %}{{ turn(m.role, m.content, last=loop.last) }}
{% endfor %}{{ turn('end') }}"""

BLANKS = """  {% if true %}
    a
  {%+ if true %}  b{% endif %}
	{# comment #}
  {#- stripped -#}   c
{%- if false -%} no {%- else -%}  d  {%- endif +%}
{% endif %}
e {{- ' f ' -}} g
   {{ 'h' }}
{% set x = 1 %}{% set y = 2 -%}

   i
{% for i in [1, 2] %}
  {{ i }}
{% endfor %}

"""

LOOPS = """{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}={{ b }}{{ ', ' if not loop.last }}{% endfor %};
{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}:{{ m.role }}{% if loop.previtem is defined %}<{{ loop.previtem.role }}{% endif %}{% if loop.nextitem is defined %}>{{ loop.nextitem.role }}{% endif %} {% endfor %};
{% for m in messages if m.role == 'nobody' %}x{% else %}none{% endfor %};
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %};
{% for i in range(3) %}{% for j in range(i) %}{{ loop.index }}{{ loop.revindex0 }}{% endfor %}|{% endfor %};
{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}{% set ns.seen = ns.seen + [m.role] %}{% endfor %}{{ ns.n }} {{ ns.seen|join('+') }};
{% set n = 1 %}{% for i in range(3) %}{% set n = n + i %}{{ n }}{% endfor %}{{ n }};
{% for c in 'h\u00e9!' %}[{{ c }}]{% endfor %}{% for k in {'p': 1} %}{{ k }}{% endfor %}{% for x in nothing %}x{% else %}-{% endfor %}
{% set a, b = 1, 'two' %}{{ a ~ b }}{% set block %}<{{ a }}>{% endset %}{{ block }}{% generation %}g{% endgeneration %}"""

EXPRESSIONS = r"""
1 + 2 * 3 - 4 // 3 % 5
(1 + 2) * 3
-7 // 2
-7 % 3
7 % -3
7 / 2
8 / 2
2 * 'ab'
'ab' * -1
1.5 + 1
true + 1
-3 % 7
-'a'
+'a'
1 + 'a'
1 // 0
0.1 + 0.2
1e
10000000.0 * 10000000000.0
9223372036854775807
'a' ~ 1 ~ none ~ true ~ 2.0 ~ missing
1 ~ 2 + 3
'a' 'b' "c"
'tab\there \u00e9 \x41 \101 \'q\' \d \\'
'\U0001f600'
'%' in '50%'
1 < 2 < 3
1 < 3 < 2
'a' < 'b'
'a' < 1
1 == 1.0
true == 1
'1' == 1
none == none
missing == missing2
missing == none
[1, 2] == [1, 2]
{'a': 1} == {'a': 1}
{'a': 1, 'b': [2]} == {'b': [2], 'a': 1}
1 in [1, 2]
'a' not in 'bc'
1 in 'bc'
'k' in {'k': 1}
1 in 1
1 != 2
2 >= 2 > 1
'x' in missing
not true or true
not (true or true)
not 1 == 2
1 and 2
0 or 'x'
none or missing or 'y'
not not 1
'yes' if 1 > 2 else 'no'
'only' if false
1 if true else 2 if true else 3
'abc'[0]
'abc'[-1]
'héllo'[1:3]
'abc'[::-1]
[1,2,3][1:]|join
[1,2,3,4][::2]|join
[1,2,3,4][::-3]|join
[1,2,3][-2:]|join('-')
[1,2,3][:-1]|join('-')
[1,2,3][5:]|join('-')
[1,2,3][2:0:-1]|join('-')
[1,2,3][::0]|join('-')
'abc'[5]
[1][3]
'abcdef'[4:1:-2]
'abc'[:100]
'abc'['a']
{'a': {'b': 'c'}}.a.b
{'a': 1}['b']
{'a': 1}.b.c
(1, 2)[1]
[[1, 2], [3]][0][1]
[1, 2,]|length
()|length
({'a': 1}).a
' x '.strip() ~ '|'
' \u3000x\x1c\u00a0'.strip() ~ '|'
'xxaxx'.strip('x')
'éaé'.strip('é')
'xxa'.lstrip('x')
'axx'.rstrip('x')
'a'.strip(1)
'a,b,,c'.split(',')|join('/')
' a  b '.split()|join('/')
'a,b,c'.split(',', 1)|join('/')
'  a b  c '.split(none, 1)|join('/')
''.split()|length
''.split(',')|length
'a'.split('')
'abc'.startswith('ab')
'abc'.endswith(('x', 'c'))
'abc'.startswith(1)
'aBc'.upper()
'aBc'.lower()
'the end of it\'s'.title()
'hELLO wORLD'.capitalize()
'aaa'.replace('a', 'b', 2)
'-'.join(['a', 'b'])
'-'.join([1])
'héllo'.find('l')
'abc'.find('z')
'banana'.count('an')
'abc'.removeprefix('a').removesuffix('c')
'abc'.nothing
'abc'.nothing()
missing.x
missing['x']
missing.x()
missing()
missing + 1
1 + missing
-missing
missing|length
missing|int
missing < 1
none.x is defined
none()
'  x '|trim ~ '|'
'xax'|trim('x')
'xax'|trim(chars='x')
'xax'|trim(wrong='x')
'a'|length(1)
'a'|no_such_filter
'a' is no_such_test
'hé'|length
[1, 2]|length
{'a': 1}|length
{'a': 1}|count
1|length
[1, 'a', none, true, 2.5, {'k': ['v"\n\x01é']}]|tojson
{'a': [1, {'b': {}}], 'c': []}|tojson(indent=2)
missing|tojson
[1, 2]|join
[1, 2]|join(', ')
missing|join
5|join
[1, 2]|first
[]|first
[1, 2]|last
'abc'|last
missing|default('d')
''|default('d')
''|default('d', true)
none|default('d')
missing|d('e')
missing.x|default('d')
'aB'|upper
'aB'|lower
'hELLO'|capitalize
'abc'|list|join('.')
{'a': 1, 'b': 2}|list|join('.')
5|list
3|string + 'x'
'42'|int + 1
' 3.7 '|int
'x'|int
'x'|int(7)
none|int
3.9|int
-3.9|int
'2.5'|float
'x'|float
'aaa'|replace('a', 'b')
'aaa'|replace('a', 'b', 1)
{'a': 1}|items|first|join('=')
'abc'|reverse
[1, 2, 3]|reverse|join
-5|abs
(-5)|abs
-'5'|int
missing|trim ~ '!'
7|trim ~ '!'
x is defined
messages is defined
none is defined
none is none
'a' is string
1 is number
true is number
'1' is number
1 is integer
true is integer
1.0 is float
1 is float
{} is mapping
[] is mapping
[] is iterable
1 is iterable
missing is iterable
'a' is sequence
1 is sequence
true is boolean
1 is boolean
1 is true
true is true
false is false
3 is odd
4 is even
4 is odd
9 is divisibleby(3)
9 is divisibleby 2
1 is eq 1
1 is ne(2)
2 is gt 1
2 is le 1
1 is in [1]
'a' is not string
not x is defined
x is not defined and true
1 is string is string
tools is none
documents is none
enable_thinking is defined
bos_token is defined
raise_exception is callable
messages is callable
messages[0].tool_calls is defined
messages[0]['content'] is string
messages|length
messages[0].role
messages[-1]['content']
messages[0]['role'] == 'system'
'role' in messages[0]
messages[0].get('role')
messages[0].get('x', 'y')
messages[0].get('x') is none
messages[0].keys()|join(',')
messages[0].values()|join(',')
messages[0]|tojson
messages[9]
messages[9].role
loop is defined
range(5)|join
range(2, 5)|join
range(5, 0, -2)|join
range()|join
range(1, 2, 0)|join
namespace(a=1).a
namespace(a=1).b is defined
strftime_now('%d %b %Y')
strftime_now('%B %d, %Y')
add_generation_prompt
raise_exception('no ' ~ 'way')
(1
[1, 2
{'a' 1}
1 +
'open
a b
"""

CONVERSATIONS = {
    "one": [("user", "What is the capital of France?")],
    "system": [("system", "  Be brief.\n"), ("user", " Hi "), ("assistant", "Hello!"), ("user", "Bye\n")],
    "thinking": [("user", "2+2?"), ("assistant", "<think>\nadd\n</think>\n\n4"), ("user", "<b>h\u00e9</b> & \"\U0001f600\""),
                 ("assistant", "<think>\n\nsmile\n</think>\n\n:)")],
    "tool": [("user", "weather?"), ("assistant", "call"), ("tool", "sun"), ("tool", "rain")],
    "odd": [("assistant", "I begin."), ("user", "")],
}


class GenerationTag(jinja2.ext.Extension):
    """Stands in for transformers' {% generation %}, which marks spans and prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: DATE[form]
    return env


def render(template, messages, prompt, bos, eos):
    variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": prompt}
    if bos:
        variables["bos_token"] = bos
    if eos:
        variables["eos_token"] = eos
    return environment().from_string(template).render(**variables)


def main():
    templates = {"chatml": CHATML, "chatml_default_system": CHATML_DEFAULT_SYSTEM, "thinking": THINKING,
                 "llama2": LLAMA2, "llama3": LLAMA3, "llama32": LLAMA32, "zephyr": ZEPHYR, "smol": SMOL,
                 "macros": MACROS, "loops": LOOPS, "blanks": BLANKS, "blanks with CRLF": BLANKS.replace("\n", "\r\n")}
    conversations = {name: [{"role": role, "content": content} for role, content in turns]
                     for name, turns in CONVERSATIONS.items()}
    cases = []

    def add(case, template, prompt=True, bos="<s>", eos="</s>"):
        case.update({"add_generation_prompt": prompt, "bos_token": bos, "eos_token": eos})
        try:
            case["expected"] = render(template, conversations[case["conversation"]], prompt, bos, eos)
        except Exception as problem:  # what Jinja2 refuses, Assay must refuse too
            case["refused"] = str(problem)
        cases.append(case)

    for name, template in templates.items():
        for conversation in conversations:
            add({"template": name, "conversation": conversation}, template)
        add({"template": name, "conversation": "system"}, template, prompt=False, bos="", eos="")
    for expression in EXPRESSIONS.strip().split("\n"):
        add({"expression": expression, "conversation": "system"}, "{{ " + expression + " }}")

    with open(OUT, "w", encoding="utf-8") as file:
        json.dump({"templates": templates, "conversations": conversations, "cases": cases}, file, ensure_ascii=False,
                  indent=0)
        file.write("\n")
    print(f"{len(cases)} cases, {sum('refused' in case for case in cases)} refused")


if __name__ == "__main__":
    main()
