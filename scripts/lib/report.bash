# report.bash: the reports of scripts/maintenance; sourced by it.
# shellcheck shell=bash
# shellcheck disable=SC2154

# keep_report DOCUMENT TASK STARTED: as JSON and as a page; and the old ones go.
keep_report() {
    local file=$reports/$2/${3//[-:]/}
    ((${#dry[@]} == 0)) || return 0
    file=${file%.*}Z
    while [[ -e $file.json ]]; do # two within one second: names still sort by time
        file+=a
    done
    page_of "$1" | keep "$file.md"
    keep "$file.json" <<<"$1" # last: a report that is there is whole
    forget_reports "$2" "$file.json"
}

# forget_reports TASK LATEST: those that are older than the policy keeps, but never the latest.
forget_reports() {
    local path
    while IFS= read -r -d '' path; do
        [[ $path == "$2" || $path == "${2%.json}.md" ]] || rm -f "$path"
    done < <(find -P "$reports/$1" -maxdepth 1 -type f \( -name '*.json' -o -name '*.md' \) -mtime "+$keep_days" -print0)
}

# page_of DOCUMENT: for people, in Markdown.
page_of() {
    jq -r '
        def cell: if type == "string" then . elif . == null then "" else tojson end | gsub("[|\n]"; " ");
        def table: (.[0] | keys_unsorted) as $keys
            | "| \($keys | join(" | ")) |", "|\($keys | map("---") | join("|"))|",
              (.[] as $row | "| \($keys | map($row[.] | cell) | join(" | ")) |");
        "# \(.task | gsub("_"; " ")): \(if .ok then "ok" else "NOT OK" end)", "",
        "\(.summary)", "",
        "Node \(.node_id) of \(.cluster), \(.period), \(.started_at) to \(.finished_at), run `\(.run_id)`.", "",
        (if .findings == [] then "Nothing was found."
         else "## Findings", "",
             (.findings | table) end), "",
        (.facts | to_entries[]
         | "## \(.key | gsub("_"; " "))", "",
           (if (.value | type) == "array" and (.value | length) > 0 and (.value | all(type == "object"))
            then (.value | table)
            elif (.value | type) == "array" then (.value[] | "- \(cell)")
            elif (.value | type) == "object" then (.value | to_entries[] | "- \(.key): \(.value | cell)")
            else (.value | cell) end), "")' <<<"$1"
}
