"""The lines of docs/recipes.md, taken out of the page and run while secrets are replaced."""
