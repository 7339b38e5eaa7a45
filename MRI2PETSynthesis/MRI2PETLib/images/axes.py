"""The axes of a head: where right, anterior and superior point in the world of an image."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import RAS_AXES

# Columns are unit vectors in LPS, row by row as the direction of an image.
Axes = tuple[float, ...]


def head_axes(template_to_image: sitk.Transform | None) -> Axes:
    """Right, anterior and superior of the head, from how a template (axes of MNI space) lies on it.

    The rotation R of the polar decomposition A = R P of the affine: of all rotations the nearest to A, so
    that the size and the shear of the head do not turn it. R is never a mirror, even if A is one: a mirrored
    head looks like a head, so left and right are those that the header states, and a header that mirrors the
    head back to front or top to bottom is a rotation by 180 degrees after a mirror from left to right.

    :param template_to_image: linear, maps template points to points of the image (LPS mm); ``None`` if
        unknown: then the axes are those of the header.
    """
    if template_to_image is None:
        return RAS_AXES
    offset = np.array(template_to_image.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(template_to_image.TransformPoint(p)) - offset for p in np.eye(3).tolist()]
    left, _, right = np.linalg.svd(np.stack(columns, axis=1))
    # The last singular vectors belong to the smallest singular value: turning them costs least.
    nearest = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    axes = left @ nearest @ right @ np.reshape(RAS_AXES, (3, 3))
    return tuple(axes.ravel().tolist())
