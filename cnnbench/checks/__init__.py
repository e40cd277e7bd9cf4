"""The checks that a recipe declares, held against its runs and models; `recipe` has read them."""
