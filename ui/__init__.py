"""What the pages share: the page frame, colours, the picture gallery, the confusion matrix and the charts.

With `pages/`, the only code that imports Streamlit. Most modules draw a page's part: they ask `bloodcell_core` for
data, which they cache, and call it to do what a person wants. What a part draws with (charts, galleries, the confusion
matrix, the desk) is handed plain values.
"""
