"""The checks that a recipe declares, held against its runs and its models: reading them is the recipe's affair."""
