"""Go templates: what Docker's users write, Go's words for errors, and never a crash."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.doors.cli.template.evaluator import parse
from carrick.doors.cli.template.values import Method, Record, TemplateError, to_json

DATA = {
    "Id": "abc",
    "Name": "/web",
    "State": {"Running": True, "Pid": 42, "Status": "running"},
    "Labels": {"b": "2", "a": "1"},
    "Env": ["A=1", "B=2"],
    "Empty": [],
    "Nothing": None,
    "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None},
    "Ratio": 1.5,
    "Big": 1e6,
    "Html": "<a&b>",
}


def render(source: str, data: object = DATA) -> str:
    return parse(source).render(data)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Id}}", "abc"),
        ("{{ .State.Pid }}", "42"),
        ("{{.State.Running}}", "true"),
        ("{{.ID}} {{.id}}", "abc abc"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Labels}}", "map[a:1 b:2]"),
        ("{{.Env}}", "[A=1 B=2]"),
        ("{{.Ports}}", "map[80/tcp:[map[HostIp: HostPort:8080]] 81/tcp:<nil>]"),
        ("{{.Ratio}} {{.Big}}", "1.5 1000000"),
        ("{{json .Labels}}", '{"b":"2","a":"1"}'),
        ("{{json .Html}}", '"<a&b>"'),
        ("{{json .Nothing}}", "null"),
        ("{{.Labels | json}}", '{"b":"2","a":"1"}'),
        ('{{index .Labels "a"}}', "1"),
        ('{{index .Labels "zz"}}', "<no value>"),
        ("{{index .Env 1}}", "B=2"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Ports "80/tcp" 0 "HostPort"}}', "8080"),
        ("{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range $i, $e := .Env}}{{$i}}={{$e}};{{end}}", "0=A=1;1=B=2;"),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}} {{end}}", "a1 b2 "),
        ("{{range $e := .Env}}{{$e}} {{end}}", "A=1 B=2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{range .Env}}{{break}}{{end}}", ""),
        ('{{range .Env}}{{if eq . "A=1"}}{{continue}}{{end}}{{.}}{{end}}', "B=2"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nothing}}a{{else if .Empty}}b{{else if .Env}}c{{else}}d{{end}}", "c"),
        ("{{if not .Empty}}empty{{end}}", "empty"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{with .Nothing}}x{{else}}-{{end}}", "-"),
        ("{{with $x := .State}}{{$x.Pid}} {{$.Id}}{{end}}", "42 abc"),
        ("{{$x := .Id}}{{$x}}{{$x}}", "abcabc"),
        ("{{$x := 1}}{{range .Env}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{len .Env}} {{len .Id}} {{len .Labels}}", "2 3 2"),
        ('{{join .Env ","}}', "A=1,B=2"),
        ('{{split .Name "/"}}', "[ web]"),
        ('{{range split "a,b" ","}}{{.}}.{{end}}', "a.b."),
        ("{{upper .Id}} {{lower `ABC`}} {{title .Id}}", "ABC abc Abc"),
        ('{{printf "%s-%d-%v-%q-%t" .Id 3 true "x" false}}', 'abc-3-true-"x"-false'),
        (
            '{{printf "%5s|%-5s|%05d|%x|%.2f|%%|%T" "a" "b" 42 255 1.5 .Env}}',
            "    a|b    |00042|ff|1.50|%|[]interface {}",
        ),
        ('{{printf "%d" "hi"}}', "%!d(string=hi)"),
        ('{{printf "%s" 1}}', "%!s(int=1)"),
        ('{{printf "%d %d" 1}}', "1 %!d(MISSING)"),
        ('{{printf "a" 1}}', "a%!(EXTRA int=1)"),
        ("{{print 1 2 `a` `b` 3}}", "1 2ab3"),
        ("{{println .Id}}", "abc\n"),
        ("{{eq .State.Pid 42}} {{eq .Id `x` `abc`}} {{ne .Id `x`}}", "true true true"),
        ("{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge `b` `a`}}", "true true false true"),
        ("{{and true .Id}} {{or .Nothing .Id}} {{and .Nothing .Missing}}", "abc abc <no value>"),
        ('{{and (eq .Id "abc") (gt .State.Pid 1)}}', "true"),
        ("{{slice .Id 1}} {{slice .Id 0 2}} {{slice .Env 1}}", "bc ab [B=2]"),
        ("{{pad .Id 1 2}}|", " abc  |"),
        ("{{truncate .Name 2}}", "/w"),
        ("{{.Id | upper | printf `%s!`}}", "ABC!"),
        ("a {{- .Id -}} b", "aabcb"),
        ("a\n{{- /* comment }} */ -}}\nb", "ab"),
        ("x{{/* comment */}}y", "xy"),
        ('{{"}}"}}', "}}"),
        ('{{"tab\\t\\"q\\" \\u00e9"}}', 'tab\t"q" é'),
        ("{{'a'}} {{0x10}} {{010}} {{-3}} {{1_000}} {{1.5}}", "97 16 8 -3 1000 1.5"),
        ("{{html .Html}} {{urlquery `a b&`}}", "&lt;a&amp;b&gt; a+b%26"),
        ("{{define}}" if False else "{{true}} {{false}}", "true false"),
    ],
)
def test_templates(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.ID", "template: :1: unclosed action"),
        ("a\n{{.ID", "template: :2: unclosed action"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{}}", "template: :1: missing value for command"),
        ("{{if .Id}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ('{{"abc}}', "template: :1: unterminated quoted string"),
        ("{{/* x}}", "template: :1: unclosed comment"),
        ("{{.Id | }}", "template: :1: missing value for command"),
        ("{{(.Id}}", "template: :1: unclosed left paren"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{if}}x{{end}}", "template: :1: missing value for if"),
        ('{{template "x"}}', "template: :1: {{template}} is not supported"),
        ("{{range $a, $b, $c := .}}{{end}}", "template: :1: too many declarations in range"),
    ],
)
def test_what_cannot_be_parsed(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(source)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        (
            "ab{{.Id.X}}",
            'template: :1:4: executing "" at <.Id.X>: can\'t evaluate field X in type string',
        ),
        (
            "{{.Nothing.X}}",
            'template: :1:2: executing "" at <.Nothing.X>: nil pointer evaluating interface {}.X',
        ),
        (
            "{{index .Env 9}}",
            'template: :1:2: executing "" at <index>: error calling index: index out of range: 9',
        ),
        (
            "{{len 3}}",
            'template: :1:2: executing "" at <len>: error calling len: len of type int',
        ),
        (
            "{{eq 1 `a`}}",
            'template: :1:2: executing "" at <eq>: error calling eq: incompatible types for comparison',
        ),
        (
            "{{.Id 3}}",
            'template: :1:2: executing "" at <.Id>: can\'t give argument to non-function .Id',
        ),
        (
            "{{range .Id}}{{end}}",
            'template: :1:8: executing "" at <.Id>: range can\'t iterate over abc',
        ),
    ],
)
def test_what_cannot_be_evaluated(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert caught.value.message == message


class Row(Record):
    TYPE = "*formatter.Row"
    FIELDS = {  # noqa: RUF012
        "ID": lambda self: "abc",
        "Label": lambda self: Method("Label", {"x": "y"}.get),
    }


def test_records() -> None:
    assert render('{{.ID}} {{.Label "x"}} {{json .}}', Row()) == 'abc y {"ID":"abc"}'
    assert to_json([Row()]) == '[{"ID":"abc"}]'
    with pytest.raises(TemplateError, match=r"can't evaluate field Foo in type \*formatter.Row"):
        render("{{.Foo}}", Row())
    with pytest.raises(TemplateError, match="wrong number of args for Label: want 1 got 0"):
        render("{{if .Label}}{{.Label | len}}{{end}}{{.Label `x` `y`}}{{print .Label}}", Row())


PIECES = st.sampled_from(
    [
        *("{{", "}}", "{{-", " -}}", "range", "if", "else", "end", "with", "break", "$x", ":=", "="),
        *(".Id", ".State", ".Env", ".Labels", ".Nothing", ".", "|", "(", ")", '"a"', "`b`", "1"),
        *("index", "len", "json", "printf", '"%d%*s%[1]d"', "eq", "and", "slice", "pad", "join"),
        *(" ", "\n", "-1", "9999999999", "1e999", "'a'", ",", "$", "truncate", "split", "/*", "*/"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=40))
def test_garbage_is_text_or_a_template_error(source: str) -> None:
    try:
        assert isinstance(render(source), str)
    except TemplateError as error:
        assert error.message


@given(st.lists(PIECES, max_size=8).map(" ".join))
def test_an_action_of_garbage_is_text_or_a_template_error(inside: str) -> None:
    try:
        assert isinstance(render("{{" + inside + "}}"), str)
    except TemplateError as error:
        assert error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_any_json_prints_and_round_trips(value: object) -> None:
    assert json.loads(render("{{json .}}", value)) == value
    assert isinstance(render("{{.}} {{printf `%v` .}}", value), str)


@pytest.mark.parametrize(
    "source",
    [
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}" * 3000 + "{{end}}" * 3000,
        "{{if 1}}a" + "{{else if 1}}b" * 3000 + "{{end}}",
        "{{range 8000}}{{range 8000}}{{range 8000}}xxxxxxxxxxxxxxxx{{end}}{{end}}{{end}}",
        '{{printf "%999999999d" 1}}',
        "{{pad `a` 999999999 1}}",
    ],
)
def test_what_asks_for_too_much_is_refused(source: str) -> None:
    try:
        assert len(render(source)) < 100
    except TemplateError as error:
        assert error.message
