"""Networks (spec chapter 9). Any module called as `net(x, t)`, or `net(x, t, label)`, can take their place."""

from refdiff.nn.embedding import TimeEmbedding as TimeEmbedding
from refdiff.nn.mlp import MLP as MLP
from refdiff.nn.mlp import Layers as Layers
from refdiff.nn.unet import Architecture as Architecture
from refdiff.nn.unet import UNet as UNet
