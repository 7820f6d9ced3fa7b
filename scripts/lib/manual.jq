# Pages of the manual from what `cx-TOOL --describe` prints; see scripts/manual. Input: that document; $date,
# $examples and $files are texts, $others the names of the other programs.

# Text for troff: a line that begins with a full stop or an apostrophe would be a request.
def plain: gsub("\\\\"; "\\e") | gsub("-"; "\\-") | gsub("(?<c>^|\n)(?<d>[.'])"; "\(.c)\\&\(.d)");
# What is typed as it stands: no typographic quotes.
def typed: gsub("\\\\"; "\\e") | gsub("-"; "\\-") | gsub("'"; "\\(aq") | gsub("`"; "\\(ga")
    | gsub("\\^"; "\\(ha") | gsub("~"; "\\(ti") | gsub("^(?<d>[.])"; "\\&\(.d)");
def bold: "\\fB\(typed)\\fR";
def italic: "\\fI\(typed)\\fR";
def paragraphs: split("\n") | map(select(. != "") | ".PP", plain);

def title($name; $section):
    ".\\\" Made by scripts/manual; not to be edited.",
    ".TH \($name | ascii_upcase | typed) \($section) \($date) \"cx \(.version)\" \"Operations of Caxton clusters\"";

def option:
    ".TP",
    ("--\(.name)" | bold) + (if .value then " \(.value | italic)" else "" end) + (if .repeatable then "…" else "" end),
    (.help | plain) + (if .default and .kind != "flag" then " (default \(.default | bold))" else "" end);

def command($program):
    ".SS \(.name | typed)",
    "\("\($program) \(.name)" | bold) [\("options" | italic)]" + (if .arguments then " \(.arguments | italic)" else "" end),
    ".PP",
    ((.summary[:1] | ascii_upcase) + .summary[1:] | plain) + "."
        + (if .streams then " Prints one JSON document a line." else "" end)
        + (if .changes then " It can change something: \("--dry-run" | bold) tells what would be done." else "" end),
    (.description // "" | paragraphs[]),
    (.options[] | option);

def meaning: {
    "64": "usage: wrong words or options", "65": "bad input data", "66": "no such input",
    "69": "a peer or a service is unavailable", "70": "internal: a fault of the program",
    "73": "can't create", "74": "input or output failed", "75": "not now: try again",
    "76": "a peer does not keep to the protocol", "77": "permission denied", "78": "the configuration is wrong"
}[tostring] // "";

def statuses:
    ".TP", ("0" | bold), "done, or the answer is yes",
    ".TP", ("1" | bold), "the answer is no: a check failed, or work is left",
    (group_by(.exit)[] | ".TP", (.[0].exit | tostring | bold),
        (.[0].exit | meaning | plain) + " (\([.[].code] | join(", ")))"),
    ".PP",
    "An error is one line on standard error: JSON with its code, message and hint, or plain words on a terminal. Ended by a signal, a program ends by that signal.";

# Lines `COMMAND  # what it does` of share/man/examples that use this program.
def examples($program):
    [$examples | split("\n")[] | select(test("(^|[|(] *)\($program) ")) | capture("^(?<run>.*?) +# (?<what>.*)$")]
    | if . == [] then empty else ".SH EXAMPLES",
        (to_entries[] | (if .key > 0 then ".PP" else empty end), (.value.what | plain) + ":",
            ".PP", ".in +4n", ".nf", (.value.run | typed), ".fi", ".in") end;

# Lines `PATH | PROGRAMS | what it is` of share/man/files, * for every program.
def files($program):
    [$files | split("\n")[] | split("|") | select(length == 3) | map(gsub("^ +| +$"; ""))
     | select(.[1] == "*" or any(.[1] | split(" ")[]; . == $program))]
    | ".SH FILES", (.[] | ".TP", (.[0] | bold), (.[2] | plain));

def see_also($program):
    ".SH SEE ALSO",
    ([$others | split(" ")[] | select(. != $program and . != "")]
     | to_entries | length as $count | .[] | ".BR \(.value | typed) (1)" + (if .key < $count - 1 then "," else "" end));

def page:
    .program as $program
    | title($program; 1),
    ".SH NAME", "\($program | typed) \\- \(.summary | plain)",
    ".SH SYNOPSIS", "\($program | bold) \("COMMAND" | italic) [\("options" | italic)] [\("arguments" | italic)]",
    ".PP", "\($program | bold) \("COMMAND --help" | bold) | \("--version" | bold) | \("--describe" | bold)",
    ".SH DESCRIPTION",
    "Each command prints one JSON document on standard output, or a short table when that is a terminal. \("-" | bold) in place of an argument reads JSON from standard input: what one program prints, the next one takes.",
    ".PP",
    "Durations are written as 250ms, 30s, 5m, 1h or 30d, sizes as 64K, 10M or 2G; options as --name value or --name=value.",
    ".SH COMMANDS",
    (.commands[] | command($program)),
    ".SH OPTIONS OF EVERY COMMAND",
    (.common_options[] | option),
    ".SH EXIT STATUS",
    (.errors | statuses),
    ".SH ENVIRONMENT",
    ".TP", ("CX_CONFIG" | bold), ("the configuration, where no --config is given" | plain),
    files($program),
    examples($program),
    see_also($program);

# What the completion asks for, as lines of bash: arrays by words.
def word_kind($text):
    ($text // "") as $text
    | if $text == "" then ""
      elif $text | test("^[a-z0-9_.-]+([|][a-z0-9_.-]+)+$") then "=" + ($text | gsub("[|]"; " "))
      elif $text | test("NODE") then "node"
      elif $text | test("DIR|DEST|^D$") then "dir"
      elif $text | test("FILE|PATH|SPEC|^F$") then "file"
      else "" end;

def completion:
    .program as $program | .common_options as $common
    | .commands[] | "\($program) \(.name)" as $words
    | @sh "_cx_options[\($words)]=\([.options[], $common[] | "--\(.name)"] | unique | join(" "))",
    @sh "_cx_arguments[\($words)]=\(word_kind(.arguments))",
    (.options[], $common[] | select(.kind != "flag") | @sh "_cx_values[\("\($words) --\(.name)")]=\(word_kind(.value))");
