"""img2poem: a photograph goes in, a poem about it comes out."""

from .client import Img2Poem, Poem
from .decoding import BeamSearch, BestOf, Greedy, Sampling
from .errors import Img2PoemError

__version__ = "0.1.0"
__all__ = ["BeamSearch", "BestOf", "Greedy", "Img2Poem", "Img2PoemError", "Poem", "Sampling", "__version__"]
