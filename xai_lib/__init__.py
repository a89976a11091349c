"""Explain image classifiers, and test the explanations.

Every explainer is ``explain(model, x, target=None, *, options) -> Tensor``: images in [0, 1] go in, an attribution or a
heatmap comes out, on the images' device, and the model is left exactly as it was found.

>>> from xai_lib import gradient
>>> gradient(model, x).shape
torch.Size([2, 3, 64, 64])
"""

from xai_lib.data import PHOTOS, load_photo
from xai_lib.models import load_model
