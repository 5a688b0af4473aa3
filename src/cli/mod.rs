
pub mod doctor;
