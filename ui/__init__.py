"""What the pages share: the page frame, colours, the picture gallery, the confusion matrix and the charts.

With `pages/`, the only code that imports Streamlit. Nothing here reads files or trains: pages ask
`bloodcell_core` for data and hand plain values to the functions of this package.
"""
