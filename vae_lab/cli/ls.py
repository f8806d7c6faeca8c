"""The command `ls`: runs filtered, sorted, printed or exported."""

import sys
from pathlib import Path

from vae_lab.amounts import counted, visible
from vae_lab.errors import RequestError, listed, nearest

FLAGS = {
    "--sort": "--sort test/nll, or --sort -test/nll",
    "--limit": "--limit 20",
    "--columns": "--columns arm,seed,test/nll",
    "--export": "--export runs.csv",
}


def ls(argv: list[str]) -> int:
    from vae_lab import index, listing, selection

    words, flags = _words_and_flags(argv)
    comparisons = [found for word in words if not Path(word).is_dir() and (found := selection.comparison(word))]
    compared = [found.word for found in comparisons]
    folder = _folder([word for word in words if word not in compared])
    limit = _limit(flags.get("--limit"))
    rows = index.rows(folder) if folder.exists() else []
    if not rows:
        print(f"no runs in {folder}")
        return 0
    names = selection.names_of(rows)
    order, columns = (selection.split(flags.get(flag, "")) for flag in ("--sort", "--columns"))
    keys = {selection.key_of(name, names): name for name in columns}
    chosen = selection.ordered(selection.chosen(rows, comparisons, names), order, names)[:limit]
    missing = [pair for each in comparisons for pair in each.missing(rows, names)]
    if chosen and missing:
        print(visible(f"no run has {' or '.join(word + hint for word, hint in missing)}"), file=sys.stderr)
    if "--export" in flags:
        from vae_lab.export import export

        export(chosen, list(keys) or listing.keys_of(rows), Path(flags["--export"]))
        print(f"{flags['--export']}: {counted(len(chosen), 'run')}")
    elif not chosen:
        hint = next((hint for _, hint in missing if hint), "")
        print(visible(f"no runs in {folder} with {' '.join(compared)}{hint}"))
    else:
        asked = [names[name.removeprefix("-")] for name in order]
        asked += [each.key(names) for each in comparisons if each.sign not in ("=", "!=")]
        listing.print_runs(chosen, keys, asked)
    return 0


def _words_and_flags(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words, and flags with their values: `--flag value` or `--flag=value`, before or after the words."""
    words, flags, rest = [], {}, iter(argv)
    for word in rest:
        flag, sign, value = word.partition("=")
        if not flag.startswith("-"):
            words.append(word)
            continue
        if flag not in FLAGS:
            raise RequestError(f"ls: {flag}: no such flag; there are {listed(FLAGS)}{nearest(flag, FLAGS)}")
        flags[flag] = value if sign else next(rest, "")
        if not flags[flag].strip(", "):
            raise RequestError(f"ls: {flag}: a value is needed, as in {FLAGS[flag]}")
    return words, flags


def _folder(words: list[str]) -> Path:
    from vae_lab import index, selection

    if len(words) > 1:
        raise RequestError(f"ls: one folder at a time, not {len(words)}")
    folder = Path(words[0] if words else "runs")
    if words and not folder.is_dir():
        is_column = words[0] in selection.names_of(index.rows(Path("runs")))
        quote = f"; a comparison with < or > is quoted, as in '{words[0]}<10'" if is_column else ""
        raise RequestError(f"ls: {folder} is no folder of runs{quote}")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"ls: {folder} is no folder of runs")
    return folder


def _limit(text: str | None) -> int | None:
    if text is not None and not (text.isdecimal() and int(text)):
        raise RequestError(f"ls: --limit {text}: a whole number from 1 is needed")
    return int(text) if text else None
