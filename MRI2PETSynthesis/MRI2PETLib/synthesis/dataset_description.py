"""What makes an output folder a BIDS derivative: its description, README and list of what BIDS does not know.

The BIDS validator has neither an error nor a warning for it: ``Testing/library/test_bids_validator.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object, write_json, write_text
from MRI2PETLib.core.ownership import check_replaceable
from MRI2PETLib.images.formats import SOFTWARE

DESCRIPTION_FILE, README_FILE, IGNORE_FILE = "dataset_description.json", "README.md", ".bidsignore"
_LINK = "raw"
_NOT_BIDS = """\
# Status, tables, pictures and reports, of which BIDS says nothing.
*_status.json
*_status.csv
*_metrics.json
*_warp.npz
*.png
*_dicom
*_report
group*
"""
_TEXT = """\
# Synthetic PET

Computed from T1-weighted MRIs by {software} {version}. A synthetic image is not a measurement. Research use
only.

`pet/*_desc-synthetic_pet` are the synthetic images, their sidecars name the model, its training data and what
was noticed about each T1. `IntendedUse: demonstration` there, DEMONSTRATION on the pictures and in the column
`note` of the tables: the model was not trained on real T1/PET pairs, its images say nothing about anybody.
`anat/*_desc-brain_mask` are the brain masks. `*_status.json` proves that a result
is that of its inputs, `synthesis_status.csv` lists all cases. `pet/*_report/` are read-outs of real PETs,
each with its `report.html`. BIDS has no `acq-` of a PET: that of its T1 is in `rec-`.
"""


def describe_dataset(output: Path, datasets: Iterable[Path]) -> dict[Path, str]:
    """Describe an output folder; nothing happens where no T1 lies in a BIDS dataset.

    :param datasets: the roots that T1s lie in, repeats allowed.
    :raises InputError: if the folder has a description that this program did not write.
    :returns: what the description calls each (``raw``, ``raw2``, ...);
        those of earlier runs keep their names.
    """
    roots = list(dict.fromkeys(datasets))
    if not roots:
        return {}
    check_replaceable(output / DESCRIPTION_FILE)
    before = _content(output / DESCRIPTION_FILE)
    there = before.get("DatasetLinks")  # of any version: the sidecars beside it name them
    earlier = there if isinstance(there, dict) else {}
    links = {name: path for name, path in earlier.items() if isinstance(path, str)}
    names = {}
    for root in roots:
        path = _from(output, root)
        same = [name for name, there in links.items() if there == path]
        names[root] = same[0] if same else _free_name(links)
        links[names[root]] = path
    write_json(
        output / DESCRIPTION_FILE, _description(links, [_content(root / DESCRIPTION_FILE) for root in roots])
    )
    if not (output / README_FILE).exists():
        write_text(output / README_FILE, _TEXT.format(software=SOFTWARE, version=__version__))
    if not (output / IGNORE_FILE).exists():
        write_text(output / IGNORE_FILE, _NOT_BIDS)
    return names


def _description(links: Mapping[str, str], sources: list[dict[str, Any]]) -> dict[str, Any]:
    """Authors and licence are those of the T1s, as far as their datasets say."""
    authors = [name for source in sources for name in source.get("Authors", []) if isinstance(name, str)]
    licences = {str(source["License"]) for source in sources if source.get("License")}
    return {
        "Name": "Synthetic PET",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": ", ".join(sorted(licences)) or "That of the source dataset, which does not state it",
        "Authors": [
            *(dict.fromkeys(authors) or ["Authors of the source dataset"]),
            f"{SOFTWARE} contributors",
        ],
        "GeneratedBy": _generated_by(),
        "SourceDatasets": [{"URL": path} for path in links.values()],
        "DatasetLinks": dict(links),
    }


def _generated_by() -> list[dict[str, str]]:
    address = "https://github.com/SlicerMRI2PET/SlicerMRI2PET"
    return [{"Name": SOFTWARE, "Version": __version__, "CodeURL": address}]


def _content(path: Path) -> dict[str, Any]:
    with suppress(InputError):
        return read_object(path, nan=lambda name: None)
    return {}


def _from(output: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(root.resolve(), output.resolve())).as_posix()
    except ValueError:  # another drive
        return root.resolve().as_uri()


def _free_name(links: Mapping[str, str]) -> str:
    names = (_LINK, *(f"{_LINK}{number}" for number in range(2, len(links) + 2)))
    return next(name for name in names if name not in links)
