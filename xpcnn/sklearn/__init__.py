"""Networks as scikit-learn estimators, for its pipelines, searches and scores."""

try:
    from xpcnn.sklearn.classifier import CNNClassifier
    from xpcnn.sklearn.regressor import CNNRegressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ImportError('xpcnn.sklearn needs scikit-learn 1.6 or later; pip install "xpcnn[sklearn]"') from error

__all__ = ["CNNClassifier", "CNNRegressor"]
