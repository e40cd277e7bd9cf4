"""Everything a recipe can name, and where it lives. To add a unit: write its file, add its line here."""

MODELS = {
    "mlp": "cnnbench.models.mlp:MLP",
    "cnn": "cnnbench.models.cnn:CNN",
    "resnet": "cnnbench.models.resnet:ResNet",
    "wide_resnet": "cnnbench.models.wide_resnet:WideResNet",
}
DATASETS = {
    "cifar10": "cnnbench.data.cifar10:load",
    "mnist": "cnnbench.data.mnist:load",
    "fashion_mnist": "cnnbench.data.fashion_mnist:load",
    "digits": "cnnbench.data.digits:load",
    "synthetic": "cnnbench.data.synthetic:load",
}
OPTIMIZERS = {
    "sgd": "cnnbench.optimizers:sgd",
    "adam": "cnnbench.optimizers:adam",
    "adamw": "cnnbench.optimizers:adamw",
    "rmsprop": "cnnbench.optimizers:rmsprop",
}
SCHEDULES = {
    "constant": "cnnbench.schedules:constant",
    "cosine": "cnnbench.schedules:cosine",
    "one_cycle": "cnnbench.schedules:one_cycle",
    "step": "cnnbench.schedules:step",
}
AUGMENTATIONS = {
    "PadIfNeeded": "cnnbench.data.augment:PadIfNeeded",
    "RandomCrop": "cnnbench.data.augment:RandomCrop",
    "HorizontalFlip": "cnnbench.data.augment:HorizontalFlip",
    "VerticalFlip": "cnnbench.data.augment:VerticalFlip",
}
ANALYSES = {
    "learning_curves": "cnnbench.analyses.learning_curves:LearningCurves",
    "accuracy_vs_cost": "cnnbench.analyses.accuracy_vs_cost:AccuracyVsCost",
    "confusion_matrix": "cnnbench.analyses.confusion_matrix:ConfusionMatrix",
    "stability": "cnnbench.analyses.stability:Stability",
}
