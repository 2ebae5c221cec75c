"""The sensor front end: integer operators between the block sums of raw counts and the standardized inputs of a network.

`program` is the data, `operators` the normative definition and the proof, `imu` the front end of accelerometers and gyroscopes.
"""

from edge_lstm.features.imu import Imu, imu_features, imu_of
from edge_lstm.features.operators import COUNTS, Memory, block_sums, memory_after, prove_features, remember, run_features
from edge_lstm.features.program import FeatureOp, Features, check_features
from edge_lstm.features.warm import memories

__all__ = [
    "COUNTS", "FeatureOp", "Features", "Imu", "Memory", "block_sums", "check_features", "imu_features", "imu_of", "memories",
    "memory_after", "prove_features", "remember", "run_features",
]  # fmt: skip
