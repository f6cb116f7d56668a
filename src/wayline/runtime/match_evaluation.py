"""How well people are told apart on tables where the answer is known: the answer is hidden, and asked at the end.

Nothing is set by the truth: roles, weights and threshold come from the records. The best threshold in hindsight is told
beside the chosen one, so that the price of not knowing can be seen.
"""

from __future__ import annotations

import csv
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.errors import AuthorError, OperatorError, did_you_mean
from wayline.observation import clusters
from wayline.runtime import matching

__all__ = ["Asked", "Evaluation", "Labelled", "Tried", "evaluate", "in_words", "picture", "read_records"]


class Asked(Struct, frozen=True, kw_only=True):
    """What to evaluate on."""

    left: Path
    right: Path | None = None
    truth: str = ""
    """The column that says who a record is."""
    labels: Path | None = None
    """A table of judged pairs."""
    one_to_one: bool = False
    roles: Mapping[str, str] = {}
    seed: int = 0


class Tried(Struct, frozen=True, kw_only=True):
    """A way of telling, against the truth, in pairs."""

    precision: float | None
    recall: float | None
    f1: float | None
    told: int = 0
    right: int = 0


class Labelled(Struct, frozen=True, kw_only=True):
    """Against judged pairs."""

    pairs: int
    unknown: int
    """Lines passed over because they name a record that the tables have not."""
    positive: int
    precision: float | None
    recall: float | None
    f1: float | None


class Evaluation(Struct, frozen=True, kw_only=True):
    """What came out."""

    records: int
    possible_pairs: int
    compared_pairs: int
    columns: list[dict[str, str]]
    threshold_bits: float
    expected_pairs: int
    expected_precision: float | None
    true_pairs: int | None
    chosen: Tried | None
    """What the command tells: people, at the threshold it chose."""
    pairs_alone: Tried | None
    """The same threshold without grouping."""
    best: Tried | None
    """The best that any one threshold on pairs would have given, in hindsight."""
    best_threshold_bits: float | None
    compared_recall: float | None
    """The share of true pairs that was compared at all."""
    people: int
    largest: int
    true_people: int | None
    exact_people: int | None
    """People whose records are exactly those of a true person."""
    labelled: Labelled | None
    seconds: dict[str, float]
    processor_seconds: float
    memory_mb: int


_RECORDS_LEAST: Final = 2
_JUDGED: Final = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}

# ------------------------------------------------------------------ reading


def read_records(path: Path) -> Any:
    """A CSV or Parquet file as an Arrow table; everything in a CSV is text, so that no leading zero is lost."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.exists():
        raise OperatorError(f"{path}: no such file. Name a CSV or Parquet file.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pyarrow.parquet.read_table(path)
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            head = file.readline()
        delimiter = max(",;\t|", key=head.count)
        names = next(csv.reader([head], delimiter=delimiter))
        table = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
            ),
        )
        return table.rename_columns([name.strip() for name in table.column_names])
    except pa.ArrowInvalid as error:
        raise AuthorError(f"{path}: it cannot be read as {path.suffix or 'CSV'}: {error}") from error


def _numbered(columns: Sequence[Any]) -> NDArray[np.int64]:
    """The values of a column over all tables as numbers, -1 where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [pc.utf8_trim_whitespace(each.cast(pa.string())) for each in columns]
    together = pa.chunked_array([chunk for each in texts for chunk in each.chunks], pa.string()).combine_chunks()
    encoded = (together.combine_chunks() if isinstance(together, pa.ChunkedArray) else together).dictionary_encode()
    return np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), np.int64)


def _truth(asked: Asked, tables: Sequence[Any]) -> NDArray[np.int64] | None:
    if not asked.truth:
        return None
    for path, table in zip((asked.left, asked.right), tables, strict=False):
        if asked.truth not in table.column_names:
            raise AuthorError(
                f"{path}: --truth {asked.truth}: no such column. {did_you_mean(asked.truth, table.column_names)}"
            )
    return _numbered([table[asked.truth] for table in tables])


# ------------------------------------------------------------------ evaluating


def evaluate(
    asked: Asked, *, tell: Callable[[str], None] | None = None, limits: matching.Limits | None = None
) -> tuple[Evaluation, clusters.Curve | None]:
    """Match with the truth hidden, then compare with it."""
    if not asked.truth and asked.labels is None:
        raise AuthorError(
            "nothing to compare with: name the column of the truth (--truth) or a file of judged pairs (--labels)."
        )
    if asked.one_to_one and asked.right is None:
        raise AuthorError("--one-to-one needs two tables: each record of the one has at most one partner in the other.")
    started, processor = time.monotonic(), time.process_time()
    tables = [read_records(path) for path in (asked.left, asked.right) if path is not None]
    count = sum(table.num_rows for table in tables)
    if count < _RECORDS_LEAST:
        raise AuthorError(
            f"{' and '.join(str(path) for path in (asked.left, asked.right) if path)}: {count} "
            f"record{'' if count == 1 else 's'}; at least {_RECORDS_LEAST} are needed to tell who is who."
        )
    truth = _truth(asked, tables)
    records = matching.open_records(
        *tables, across=asked.one_to_one, roles=asked.roles, hidden=[asked.truth], limits=limits
    )
    read = time.monotonic()
    resolved = matching.resolve(records, limits=limits, seed=asked.seed, tell=tell)
    done = time.monotonic()
    used = time.process_time() - processor
    first_count = tables[0].num_rows if len(tables) > 1 else records.count
    judged, curve = _against(resolved, truth, first_count)
    size = np.bincount(resolved.person)
    made = Evaluation(
        records=records.count,
        possible_pairs=round(records.possible),
        compared_pairs=resolved.compared,
        columns=[{"column": c.name, "role": c.role, "why": c.why} for c in records.columns],
        threshold_bits=round(resolved.threshold, 3),
        expected_pairs=round(resolved.expected_pairs),
        expected_precision=resolved.expected_precision,
        people=len(size),
        largest=int(size.max(initial=0)),
        labelled=_against_labels(asked, tables, resolved) if asked.labels else None,
        seconds={"read": round(read - started, 2), "match": round(done - read, 2), "in all": round(done - started, 2)},
        processor_seconds=round(used, 2),
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **judged,
    )
    return made, curve


def _against(
    resolved: matching.Resolved, truth: NDArray[np.int64] | None, first_count: int
) -> tuple[dict[str, Any], clusters.Curve | None]:
    wanted = ("true_pairs", "chosen", "pairs_alone", "best", "best_threshold_bits", "compared_recall",
        "true_people", "exact_people")  # fmt: skip
    if truth is None:
        return dict.fromkeys(wanted), None
    figures = clusters.figures(resolved.person, truth, first_count)
    left, right = resolved.scored.left, resolved.scored.right
    across = (left < first_count) & (right >= first_count) if first_count < len(truth) else np.ones(len(left), bool)
    is_right = (truth[left] == truth[right])[across] & (truth[left] >= 0)[across]
    curve = clusters.curve(resolved.scored.weight[across], is_right, figures.true_pairs)
    at = int(np.searchsorted(-curve.weight, -resolved.threshold, side="right")) - 1
    _, best_at = curve.best()
    best = int(np.searchsorted(-curve.weight, -best_at, side="right")) - 1
    same = np.where(truth < 0, -np.arange(1, len(truth) + 1), truth)
    exact = _exact(resolved.person, same)
    return {
        "true_pairs": figures.true_pairs,
        "chosen": Tried(
            precision=figures.precision, recall=figures.recall, f1=figures.f1,
            told=figures.told_pairs, right=figures.right_pairs,
        ),
        "pairs_alone": _at(curve, at),
        "best": _at(curve, best),
        "best_threshold_bits": round(best_at, 3),
        "compared_recall": float(is_right.sum()) / figures.true_pairs if figures.true_pairs else None,
        "true_people": len(np.unique(same)),
        "exact_people": exact,
    }, curve  # fmt: skip


def _at(curve: clusters.Curve, at: int) -> Tried:
    if at < 0:
        return Tried(precision=None, recall=0.0, f1=0.0)
    precision, recall = float(curve.precision[at]), float(curve.recall[at])
    return Tried(precision=precision, recall=recall, f1=2 * precision * recall / max(precision + recall, 1e-12))


def _exact(person: NDArray[np.int64], truth: NDArray[np.int64]) -> int:
    """People who are one true person, whole."""
    truth = np.unique(truth, return_inverse=True)[1]
    both = np.unique(np.stack([person, truth]), axis=1)
    alone_there = np.bincount(both[0])[both[0]] == 1
    alone_here = np.bincount(both[1])[both[1]] == 1
    return int((alone_there & alone_here).sum())


def _against_labels(asked: Asked, tables: Sequence[Any], resolved: matching.Resolved) -> Labelled:
    """Judged pairs: columns X_l and X_r name a column X of the tables, and another says whether they are one."""
    import pyarrow as pa

    assert asked.labels is not None
    labels = read_records(asked.labels)
    key, score = _judged_by(asked.labels, labels.column_names, tables[0].column_names)
    ids = [text.as_py() for table in tables for text in table[key].cast(pa.string())]
    # The second of two tables may number its records as the first does.
    first = range(tables[0].num_rows)
    second = range(tables[0].num_rows, len(ids)) if len(tables) > 1 else first
    left, right = (
        np.array([row_of.get(text.as_py(), -1) for text in labels[f"{key}_{side}"].cast(pa.string())])
        for side, rows in (("l", first), ("r", second))
        for row_of in [{ids[row]: row for row in rows}]
    )
    known = (left >= 0) & (right >= 0)
    if not known.any():
        raise AuthorError(
            f"{asked.labels}: no line names two records of the tables by their {key!r}. Name them as the tables do."
        )
    is_one = _judged(asked.labels, score, labels[score])[known]
    told = resolved.person[left[known]] == resolved.person[right[known]]
    hits = int((told & is_one).sum())
    return Labelled(
        pairs=int(known.sum()),
        unknown=len(known) - int(known.sum()),
        positive=int(is_one.sum()),
        precision=hits / int(told.sum()) if told.any() else None,
        recall=hits / int(is_one.sum()) if is_one.any() else None,
        f1=2 * hits / int(told.sum() + is_one.sum()) if (told | is_one).any() else None,
    )


def _judged(path: Path, name: str, column: Any) -> NDArray[np.bool_]:
    """Whether each line says that its two records are one person; raises AuthorError for one that does not tell."""
    import pyarrow as pa

    is_one = []
    for line, said in enumerate(column.cast(pa.string()).to_pylist(), 2):
        judged = _JUDGED.get((said or "").strip().lower())
        if judged is None:
            try:
                judged = float(said or "")
            except ValueError:
                judged = -1.0
        if not 0 <= judged <= 1:
            raise AuthorError(
                f"{path}:{line}: {name}: expected 1 for one person, 0 for two, or a share between, found "
                f"{said or ''!r}. Judge the pair, or take the line out."
            )
        is_one.append(judged >= 0.5)
    return np.array(is_one, bool)


def _judged_by(path: Path, names: Sequence[str], there: Sequence[str]) -> tuple[str, str]:
    """The column that names a record, and the one that says whether two are one."""
    keys = [name[:-2] for name in names if name.endswith("_l") and f"{name[:-2]}_r" in names and name[:-2] in there]
    scores = [name for name in names if any(word in name.lower() for word in ("score", "match", "label", "is_"))]
    if not keys or not scores:
        raise AuthorError(
            f"{path}: judged pairs need two columns NAME_l and NAME_r, where NAME is a column of the tables, "
            f"and one with 'match', 'label' or 'score' in its name: 1 for one person, 0 for two. It has: "
            f"{', '.join(names)}."
        )
    return keys[0], scores[0]


# ------------------------------------------------------------------ telling


def in_words(made: Evaluation) -> list[str]:
    """The evaluation as a person reads it."""
    lines = [f"{made.records:,} records, {made.compared_pairs:,} of {made.possible_pairs:,} pairs compared"]
    lines += [f"  {each['column']}: {each['role']} ({each['why']})" for each in made.columns]
    lines.append(
        f"By what was learnt there are about {made.expected_pairs:,} pairs of one person; those told should be right "
        f"to {_share(made.expected_precision)}."
    )
    if made.chosen is not None:
        assert made.pairs_alone is not None and made.best is not None
        rows = [
            ("people, as told", made.chosen, made.threshold_bits),
            ("pairs alone, same threshold", made.pairs_alone, made.threshold_bits),
            ("pairs, best threshold in hindsight", made.best, made.best_threshold_bits or 0.0),
        ]
        lines.append(f"{'':36}{'precision':>10}{'recall':>9}{'F1':>9}{'threshold':>11}")
        for name, each, bits in rows:
            lines.append(
                f"{name:36}{_share(each.precision):>10}{_share(each.recall):>9}{_share(each.f1):>9}{bits:>7.1f} bit"
            )
        lines.append(
            f"{made.chosen.right:,} of {made.true_pairs:,} true pairs found; {_share(made.compared_recall)} of them "
            f"were compared and near enough."
        )
        lines.append(f"People: {made.people:,} told, {made.true_people:,} true, {made.exact_people:,} exactly right;")
    lines.append(f"the largest has {made.largest} records.")
    if made.labelled is not None:
        each_one = made.labelled
        lines.append(
            f"{each_one.pairs:,} judged pairs ({each_one.positive:,} of one person): "
            f"precision {_share(each_one.precision)}, recall {_share(each_one.recall)}, F1 {_share(each_one.f1)}"
        )
        if each_one.unknown:
            lines.append(
                f"{each_one.unknown:,} line{'' if each_one.unknown == 1 else 's'} of the labels passed over: a record "
                f"named there is not in the tables."
            )
    lines.append(
        f"{made.seconds['in all']:.1f} s ({made.processor_seconds:.1f} s of processor), {made.memory_mb:,} MB at most"
    )
    return lines


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.4f}"


def picture(curve: clusters.Curve, chosen: Tried) -> str:
    """The precision-recall curve as SVG, with the chosen point on it."""
    left, top, size = 60, 20, 360
    step = max(len(curve.weight) // 2_000, 1)
    points = " ".join(
        f"{left + size * r:.1f},{top + size * (1 - p):.1f}"
        for p, r in zip(curve.precision[::step], curve.recall[::step], strict=True)
    )
    marks = []
    for tenth in range(0, 11, 2):
        at = tenth / 10
        x, y = left + size * at, top + size * (1 - at)
        marks.append(f'<path d="M{x:.0f} {top}V{top + size}M{left} {y:.0f}H{left + size}" stroke="#ddd"/>')
        marks.append(f'<text x="{x:.0f}" y="{top + size + 18}" text-anchor="middle">{at:.1f}</text>')
        marks.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{at:.1f}</text>')
    x, y = left + size * (chosen.recall or 0), top + size * (1 - (chosen.precision or 0))
    said = f"as told: precision {_share(chosen.precision)}, recall {_share(chosen.recall)}, F1 {_share(chosen.f1)}"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + size + 40} {top + size + 70}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>Precision and recall of pairs; {said}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        *marks,
        f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#c2410c"/>',
        f'<text x="{left + size / 2}" y="{top + size + 40}" text-anchor="middle">recall</text>',
        f'<text text-anchor="middle" transform="translate(18 {top + size / 2}) rotate(-90)">precision</text>',
        f'<text x="{left}" y="{top + size + 60}" fill="#c2410c">{said}</text>',
        "</svg>", "",
    ])  # fmt: skip
