"""Explain image classifiers, and test the explanations.

Every explainer is ``explain(model, x, target=None, *, options) -> Tensor``: images in [0, 1] go in,
an attribution or a heatmap comes out, on the images' device, and the model is left exactly as it was found.

>>> from xai_lib import gradient
>>> gradient(model, x).shape
torch.Size([2, 3, 64, 64])
"""

from xai_lib.cams import (
    cam,
    grad_cam,
    grad_cam_plus_plus,
    guided_grad_cam,
    hires_cam,
    layer_cam,
    score_cam,
    xgrad_cam,
)
from xai_lib.cluster import explain_dataset, read_heatmaps
from xai_lib.data import PHOTOS, SHAPE_CLASSES, Shapes, digits, load_photo, shapes
from xai_lib.faithfulness import aopc, deletion, insertion
from xai_lib.gradients import (
    deconvnet,
    gradient,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    integrated_gradients_fit,
    smooth_grad,
    smooth_grad_fit,
)
from xai_lib.heatmaps import fingerprint, normalize, to_heatmap
from xai_lib.localisation import (
    area_fraction,
    box_from_heatmap,
    centre_map,
    energy_in,
    iou,
    pointing_game,
    relevance_rank,
)
from xai_lib.models import load_model
from xai_lib.perturbation import black_box, occlusion, rise, rise_fit, rise_masks
from xai_lib.surrogates import lime, lime_fit, shapley, shapley_fit, superpixels

__all__ = [
    "PHOTOS",
    "SHAPE_CLASSES",
    "Shapes",
    "aopc",
    "area_fraction",
    "black_box",
    "box_from_heatmap",
    "cam",
    "centre_map",
    "deconvnet",
    "deletion",
    "digits",
    "energy_in",
    "explain_dataset",
    "fingerprint",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "gradient_x_input",
    "guided_backprop",
    "guided_grad_cam",
    "hires_cam",
    "insertion",
    "integrated_gradients",
    "integrated_gradients_fit",
    "iou",
    "layer_cam",
    "lime",
    "lime_fit",
    "load_model",
    "load_photo",
    "normalize",
    "occlusion",
    "pointing_game",
    "read_heatmaps",
    "relevance_rank",
    "rise",
    "rise_fit",
    "rise_masks",
    "score_cam",
    "shapes",
    "shapley",
    "shapley_fit",
    "smooth_grad",
    "smooth_grad_fit",
    "superpixels",
    "to_heatmap",
    "xgrad_cam",
]
