//! Paper and font: paints one picture twice, as SVG text and as PNG bytes.

use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle, WHITE, register_font};

use super::ChartError;

/// Name under which the embedded font is registered; an SVG viewer takes its own sans-serif for it.
const FAMILY: &str = "sans-serif";
static FONT: &[u8] = include_bytes!("../../../assets/fonts/DejaVuSans.ttf");

/// Width of every picture, in pixels.
pub const WIDTH: u32 = 1200;
/// Ink of titles and labels.
pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Ink of what stands back: notes, axes.
pub const MUTED: RGBColor = RGBColor(0x5c, 0x5c, 0x5c);
/// Ink of grid lines.
pub const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);

/// A picture or a rectangle of it, in pixels.
pub type Area<DB> = DrawingArea<DB, Shift>;
/// What painting on `DB` may end in.
pub type Painted<T, DB> = Result<T, DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Something that can be painted on any backend, and looks the same on each.
pub trait Picture {
    /// Height in pixels; the width is [`WIDTH`].
    fn height(&self) -> u32;
    /// Paints the whole picture.
    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB>;
}

/// SVG text of `picture`.
pub fn svg<P: Picture>(picture: &P) -> Result<String, ChartError> {
    register()?;
    let mut text = String::new();
    on_white(picture, SVGBackend::with_string(&mut text, (WIDTH, picture.height())))?;
    Ok(text)
}

/// PNG bytes of `picture`: 8-bit RGB, no time stamp.
pub fn png<P: Picture>(picture: &P) -> Result<Vec<u8>, ChartError> {
    register()?;
    let size = (WIDTH, picture.height());
    let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
    on_white(picture, BitMapBackend::with_buffer(&mut pixels, size))?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    // Flat colours: lines that repeat pack better than differences do.
    encoder.set_filter(png::FilterType::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn on_white<P: Picture, DB: DrawingBackend>(picture: &P, backend: DB) -> Result<(), ChartError> {
    let failed = |error: DrawingAreaErrorKind<DB::ErrorType>| ChartError::Draw(error.to_string());
    let root = backend.into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    picture.paint(&root).map_err(failed)?;
    root.present().map_err(failed)
}

/// Registers the embedded font once per process: without it neither backend can lay out text.
fn register() -> Result<(), ChartError> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok());
    if *done { Ok(()) } else { Err(ChartError::Font) }
}

/// Text of `size` pixels, hung up at `anchor`.
pub fn text(size: u32, color: &RGBColor, anchor: (HPos, VPos)) -> TextStyle<'static> {
    TextStyle {
        font: FontDesc::new(FontFamily::Name(FAMILY), f64::from(size), FontStyle::Normal),
        color: color.to_backend_color(),
        pos: Pos::new(anchor.0, anchor.1),
    }
}

/// Text that begins at its position, which is its upper left corner.
pub fn plain(size: u32, color: &RGBColor) -> TextStyle<'static> {
    text(size, color, (HPos::Left, VPos::Top))
}
