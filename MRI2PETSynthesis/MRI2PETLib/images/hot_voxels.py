"""Single voxels that are far brighter than everything around: spikes of a reconstruction, damaged bytes.

One of them is enough to take all bins of a histogram, to pull a mean, and to spread over its neighbours in
a blur. So they are mended where an image is read, for whatever is computed afterwards. Something bright that
has an extent (a vessel, a bladder, an injection site) is no such voxel.
"""

from __future__ import annotations

import numpy as np

from MRI2PETLib.core.findings import Finding

# Times the 99.9th percentile of what is not zero, and times the median of the voxel's neighbours. The
# brightest voxels of 24 public T1s reach 1.0 to 3.5 times that percentile, of 8 smoothed PETs 1.1 to 1.2.
_FACTOR, _PERCENTILE = 10.0, 99.9
_MOST = 1000  # more are no single voxels
_LARGE = 1_000_000  # voxels: of so many, every eighth tells the percentile


def mend_hot_voxels(values: np.ndarray, name: str) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Give hot voxels the median of the 3 x 3 x 3 voxels around them.

    :param values: [k, j, i]; NaN is left alone. Not changed.
    :param name: of the image, for the finding.
    :returns: the values (the same array where nothing is hot), and what to tell.
    """
    step = 2 if values.size > _LARGE else 1
    sample = np.abs(values[::step, ::step, ::step])
    sample = sample[sample > 0]  # not NaN either
    if not sample.size:
        return values, ()
    largest = max(-float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None)))
    if np.count_nonzero(sample >= largest / _FACTOR) > (1 - _PERCENTILE / 100) * sample.size + 1:
        return values, ()  # so many are no less than a tenth of it, and the percentile neither
    size, limit = np.abs(values), _FACTOR * float(np.percentile(sample, _PERCENTILE))
    candidates = np.argwhere(size > limit)
    if not 0 < len(candidates) <= _MOST:
        return values, ()
    mended, hottest, count = values.copy(), 0.0, 0
    for k, j, i in candidates:
        around = values[max(k - 1, 0) : k + 2, max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
        median = float(np.nanmedian(around))
        if size[k, j, i] > _FACTOR * abs(median):
            mended[k, j, i] = median
            hottest, count = max(hottest, float(size[k, j, i])), count + 1
    if not count:
        return values, ()
    message = (
        f"{name}: {count} single voxel{'s' if count > 1 else ''} far brighter than everything around (up to "
        f"{hottest:.3g}) got the median of the voxels around."
    )
    return mended, (Finding("warn", "hot-voxels", message, "Look at the image: it may be damaged."),)
