"""The demo in the browser: `streamlit run streamlit_main.py`, the same as `fast-style demo`."""

from fast_style.demo.page import show_page

show_page()
