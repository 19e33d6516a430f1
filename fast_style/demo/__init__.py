"""The demo: a Streamlit page around the public names of `fast_style`, with no logic of its own."""
